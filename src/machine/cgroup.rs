//! The memory limit of this process's control group (containers, systemd slices), versions 1 and 2.

use super::Fact;
use std::fs;
use std::path::{Path, PathBuf};

/// Version 1 writes "no limit" as the largest number of whole pages; anything beyond this is none.
const NO_LIMIT: u64 = 1 << 60;

/// The tightest limit that holds for a process, and what is used of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) limit: u64,
    /// Page cache that has not been looked at for a while is not counted: the kernel takes it back before it refuses memory.
    pub(super) used: u64,
}

/// What the files of one version of control groups are called.
struct Files {
    limit: &'static str,
    usage: &'static str,
    /// The line of `memory.stat`, children included.
    inactive: &'static str,
}

const V1: Files = Files {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    inactive: "total_inactive_file",
};
const V2: Files = Files {
    limit: "memory.max",
    usage: "memory.current",
    inactive: "inactive_file",
};

/// The limit of the process whose `/proc` and `/sys` lie under `root`; `None`: it has none.
pub(super) fn read(root: &Path) -> Fact<Option<Limit>> {
    let list = root.join("proc/self/cgroup");
    let text = match fs::read_to_string(&list) {
        Ok(text) => text,
        // a kernel without control groups limits nobody
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Fact::Known(None),
        Err(error) => return Fact::unknown(format!("{}: {error}", list.display())),
    };
    let mounted = root.join("sys/fs/cgroup");
    let mut tightest: Option<Limit> = None;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(number), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            return Fact::unknown(format!(
                "{}: the line {line:?} is not of the form number:controllers:path",
                list.display()
            ));
        };
        let (base, files) = if number == "0" && controllers.is_empty() {
            (mounted.clone(), &V2)
        } else if controllers.split(',').any(|name| name == "memory") {
            (mounted.join("memory"), &V1)
        } else {
            continue;
        };
        for group in ancestors(&base, path) {
            match limit_of(&group, files) {
                Ok(None) => {}
                Ok(Some(found)) => {
                    let room = |limit: &Limit| limit.limit.saturating_sub(limit.used);
                    if tightest.as_ref().is_none_or(|known| room(&found) < room(known)) {
                        tightest = Some(found);
                    }
                }
                Err(reason) => return Fact::Unknown(reason),
            }
        }
    }
    Fact::Known(tightest)
}

/// The group and those above it, up to the mount point. In a container the path can be that of the host, which is not mounted:
/// then only the mount point itself exists, and it is the container's own group.
fn ancestors(base: &Path, path: &str) -> Vec<PathBuf> {
    let relative = Path::new(path.trim_start_matches('/'));
    let inside = !relative
        .components()
        .any(|part| matches!(part, std::path::Component::ParentDir));
    let mut groups: Vec<PathBuf> = Vec::new();
    if inside {
        groups.extend(relative.ancestors().map(|part| base.join(part)));
    } else {
        groups.push(base.to_owned());
    }
    groups
}

/// The limit that one group states itself.
fn limit_of(group: &Path, files: &Files) -> Result<Option<Limit>, String> {
    let Some(text) = read_if_there(&group.join(files.limit))? else {
        return Ok(None);
    };
    if text.trim() == "max" {
        return Ok(None);
    }
    let limit = number(&group.join(files.limit), &text)?;
    if limit >= NO_LIMIT {
        return Ok(None);
    }
    let usage = group.join(files.usage);
    let used = match read_if_there(&usage)? {
        Some(text) => number(&usage, &text)?,
        None => {
            return Err(format!(
                "{} states a limit, but there is no {}",
                group.display(),
                files.usage
            ));
        }
    };
    let stat = read_if_there(&group.join("memory.stat"))?.unwrap_or_default();
    let inactive = stat
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(key, _)| *key == files.inactive)
        .and_then(|(_, value)| value.trim().parse::<u64>().ok());
    Ok(Some(Limit {
        limit,
        used: used.saturating_sub(inactive.unwrap_or(0)),
    }))
}

fn read_if_there(path: &Path) -> Result<Option<String>, String> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn number(path: &Path, text: &str) -> Result<u64, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("{}: {:?} is not a number of bytes", path.display(), text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory tree with these files.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            fs::write(path, content).expect("a file");
        }
        root
    }

    fn limit(files: &[(&str, &str)]) -> Fact<Option<Limit>> {
        read(tree(files).path())
    }

    #[test]
    fn a_process_without_control_groups_has_no_limit() {
        assert_eq!(limit(&[]), Fact::Known(None));
        let unlimited = [("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "max\n")];
        assert_eq!(limit(&unlimited), Fact::Known(None));
    }

    #[test]
    fn version_2_counts_what_cannot_be_taken_back() {
        let found = limit(&[
            ("proc/self/cgroup", "0::/app\n"),
            ("sys/fs/cgroup/app/memory.max", "4096\n"),
            ("sys/fs/cgroup/app/memory.current", "3000\n"),
            ("sys/fs/cgroup/app/memory.stat", "anon 1000\ninactive_file 1500\n"),
        ]);
        assert_eq!(
            found,
            Fact::Known(Some(Limit {
                limit: 4096,
                used: 1500
            }))
        );
    }

    #[test]
    fn version_1_is_read_beside_an_empty_version_2() {
        let found = limit(&[
            ("proc/self/cgroup", "9:name=systemd:/\n4:memory:/job\n0::/\n"),
            ("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "2048\n"),
            ("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "1024\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        assert_eq!(
            found,
            Fact::Known(Some(Limit {
                limit: 2048,
                used: 1024
            }))
        );
    }

    #[test]
    fn the_group_with_the_least_room_counts_wherever_it_is() {
        let found = limit(&[
            ("proc/self/cgroup", "0::/slice/unit\n"),
            ("sys/fs/cgroup/slice/unit/memory.max", "1000\n"),
            ("sys/fs/cgroup/slice/unit/memory.current", "100\n"),
            ("sys/fs/cgroup/slice/memory.max", "5000\n"),
            ("sys/fs/cgroup/slice/memory.current", "4800\n"),
        ]);
        assert_eq!(
            found,
            Fact::Known(Some(Limit {
                limit: 5000,
                used: 4800
            }))
        );
    }

    #[test]
    fn a_path_of_the_host_leads_to_the_containers_own_group() {
        let found = limit(&[
            ("proc/self/cgroup", "0::/docker/0123abc\n"),
            ("sys/fs/cgroup/memory.max", "1000\n"),
            ("sys/fs/cgroup/memory.current", "10\n"),
        ]);
        assert_eq!(found, Fact::Known(Some(Limit { limit: 1000, used: 10 })));
        let above = [
            ("proc/self/cgroup", "0::/../sibling\n"),
            ("sys/fs/cgroup/memory.max", "max\n"),
        ];
        assert_eq!(limit(&above), Fact::Known(None));
    }

    #[test]
    fn what_cannot_be_read_is_unknown_with_the_file() {
        let odd = limit(&[("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "-7\n")]);
        let Fact::Unknown(reason) = odd else { panic!("{odd:?}") };
        assert!(reason.contains("memory.max") && reason.contains("-7"), "{reason}");
        assert!(matches!(limit(&[("proc/self/cgroup", "nonsense\n")]), Fact::Unknown(_)));
    }
}
