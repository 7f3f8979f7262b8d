"""SpliceBERT for riboswitch: a family, its alphabet and its checkpoints, as data."""
