//! Writing a profile: whole or not at all, and never over somebody's changes.

use crate::store::sync_dir;
use anyhow::{Context as _, Result, bail};
use std::io::Write as _;
use std::path::Path;

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The file is new, or was replaced.
    Written,
    /// The file said the same already.
    Unchanged,
}

/// Writes `text` to `path`, with the folders it needs.
///
/// # Errors
/// A file that says something else, without `force`; what is no file; what the disk refuses.
pub fn write(path: &Path, text: &str, force: bool) -> Result<Outcome> {
    if path.as_os_str().is_empty() {
        bail!("--output needs the name of a file, or - for standard output");
    }
    // a link is followed, so that what it names changes and the link stays
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    match target.metadata() {
        Ok(meta) if !meta.is_file() => bail!("{} is no file, so no profile can be written there", path.display()),
        Ok(_) if std::fs::read(&target).is_ok_and(|there| there == text.as_bytes()) => return Ok(Outcome::Unchanged),
        Ok(_) if !force => bail!(
            "{} is there and says something else; --force replaces it, --output FILE writes another file, --output - shows the \
             profile",
            path.display()
        ),
        Ok(_) | Err(_) => {}
    }
    let attempt = || -> std::io::Result<()> {
        let folder = match target.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(folder)?;
        let mut file = readable_by_all().tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        if force {
            file.persist(&target)?;
        } else {
            file.persist_noclobber(&target)?; // somebody may have been faster
        }
        sync_dir(folder)
    };
    attempt().with_context(|| format!("cannot write the profile to {}", path.display()))?;
    Ok(Outcome::Written)
}

/// Temporary files are their owner's only; a profile is for the agent's user, too, as far as the umask lets it.
fn readable_by_all() -> tempfile::Builder<'static, 'static> {
    #[allow(unused_mut)]
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_made_and_the_file_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/profile.yaml");
        assert_eq!(write(&path, "x: 1\n", false).unwrap(), Outcome::Written);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "x: 1\n");
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }

    #[test]
    fn a_file_that_says_something_else_stays_unless_forced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        std::fs::write(&path, "mine").unwrap();
        let error = write(&path, "ours", false).unwrap_err().to_string();
        assert!(error.contains("--force"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        assert_eq!(write(&path, "ours", true).unwrap(), Outcome::Written);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "ours");
    }

    #[test]
    fn the_same_text_again_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        write(&path, "x", false).unwrap();
        assert_eq!(write(&path, "x", false).unwrap(), Outcome::Unchanged);
    }

    #[test]
    fn a_folder_is_no_place_for_a_profile() {
        let dir = tempfile::tempdir().unwrap();
        for force in [false, true] {
            assert!(
                write(dir.path(), "x", force)
                    .unwrap_err()
                    .to_string()
                    .contains("no file")
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write(&link, "new", true).unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
    }
}
