"""The PaddleNLP backend: the class in which RNAErnie was trained, for models that it computes."""
