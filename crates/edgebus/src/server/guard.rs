//! What decides who may come in: certificates, tokens and rights, read again while the server runs.
