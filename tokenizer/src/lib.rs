//! Byte-level BPE and byte tokenizers.
