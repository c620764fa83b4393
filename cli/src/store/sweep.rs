//! What killed processes left in our own folders.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

/// Files that were written to a shorter time ago may be about to be locked by whoever writes them.
const SETTLED: Duration = Duration::from_secs(60);

/// What the names of unfinished files begin with (`tempfile::NamedTempFile`).
const UNFINISHED: &str = ".tmp";

/// Removes unfinished files that nobody writes any more: old enough, and locked by no process. What cannot be looked at or
/// removed stays; it is in nobody's way.
pub(crate) fn sweep(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let is_unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
        if is_unfinished && is_abandoned(&entry.path()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn is_abandoned(path: &Path) -> bool {
    let is_file = path.symlink_metadata().is_ok_and(|about| about.is_file());
    let Some(file) = is_file.then(|| File::open(path).ok()).flatten() else {
        return false;
    };
    let age = file.metadata().and_then(|about| about.modified()).ok();
    let age = age.and_then(|modified| modified.elapsed().ok());
    age.is_some_and(|age| age >= SETTLED) && file.try_lock().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn what_was_abandoned_goes_and_what_is_written_or_finished_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, age: u64| {
            let file = File::create(dir.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
            file
        };
        file(".tmpOld", 120);
        file(".tmpNew", 5);
        file("model.json", 120);
        let written = file(".tmpLocked", 120);
        written.lock().unwrap();
        sweep(dir.path());
        let mut left: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, [".tmpLocked", ".tmpNew", "model.json"]);
    }
}
