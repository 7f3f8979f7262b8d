"""From canonical weights back to files: any layout, with what is lost on the way named."""
