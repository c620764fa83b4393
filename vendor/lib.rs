//! Never compiled; Cargo needs a target to accept the manifest.
