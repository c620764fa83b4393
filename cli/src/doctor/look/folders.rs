//! How folders are.

use crate::doctor::facts::{Folder, FolderState};
use llama_turboquant::machine::Fact;
use std::path::{Path, PathBuf};

/// Where the embedded model is unpacked.
pub(super) fn embedded() -> PathBuf {
    crate::embedded::folder()
}

/// Looks at a folder: a file is made in it for a moment.
pub(super) fn look(purpose: &'static str, path: &Path) -> Folder {
    let there = path.ancestors().find(|folder| folder.exists());
    let free = match there {
        Some(folder) => match fs4::available_space(folder) {
            Ok(bytes) => Fact::Known(bytes),
            Err(error) => Fact::unknown(error.to_string()),
        },
        None => Fact::unknown("no folder above it is there"),
    };
    Folder {
        purpose,
        path: path.to_owned(),
        state: state(path, there),
        free,
    }
}

fn state(path: &Path, there: Option<&Path>) -> FolderState {
    let write = |folder: &Path| tempfile::tempfile_in(folder).map(drop);
    match there {
        Some(folder) if folder == path => {
            if !path.is_dir() {
                return FolderState::Unusable("it is no folder".into());
            }
            if let Err(error) = std::fs::read_dir(path) {
                return FolderState::Unusable(error.to_string());
            }
            write(path).map_or_else(
                |error| FolderState::ReadOnly(error.to_string()),
                |()| FolderState::Writable,
            )
        }
        Some(folder) if !folder.is_dir() => FolderState::Unusable(format!("{} is no folder", folder.display())),
        Some(folder) => write(folder).map_or_else(
            |error| FolderState::Unusable(format!("it cannot be made in {}: {error}", folder.display())),
            |()| FolderState::Absent,
        ),
        None => FolderState::Unusable("no folder above it is there".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_writable_absent_or_unusable() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let state = |path: &Path| look("models", path).state;
        assert_eq!(state(dir.path()), FolderState::Writable);
        assert_eq!(state(&dir.path().join("a/b")), FolderState::Absent);
        assert!(matches!(state(&file), FolderState::Unusable(_)));
        assert!(matches!(state(&file.join("a")), FolderState::Unusable(_)));
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing is left behind"
        );
    }

    #[test]
    fn the_free_space_of_a_folder_that_is_not_there_is_that_of_the_one_above() {
        let dir = tempfile::tempdir().unwrap();
        assert!(look("models", &dir.path().join("a/b")).free.get().unwrap() > 0);
    }
}
