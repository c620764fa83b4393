//! What the names in a models folder stand for.

use super::folder::Store;
use super::manifest::Manifest;
use super::name::best;
use super::scan::{Found, scan};
use super::{Entry, Error};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// What a name stands for.
pub(super) enum Meaning {
    /// A model that is not in the folder.
    Given(Entry),
    /// Files that the user put there.
    Found(Found),
    /// What this program wrote: a download, an alias, a created model.
    Written(Manifest),
}

impl Store {
    /// What one name stands for.
    pub(super) fn meaning(&self, name: &str) -> Result<Option<Meaning>, Error> {
        let mut meanings = self.meanings()?;
        Ok(best(meanings.keys().map(String::as_str), name)
            .map(str::to_owned)
            .and_then(|name| meanings.remove(&name))
            .map(|(meaning, _)| meaning))
    }

    /// Everything that can be loaded. What the user named or put there himself goes before what was made of it.
    pub(super) fn meanings(&self) -> Result<BTreeMap<String, (Meaning, Entry)>, Error> {
        let mut meanings = BTreeMap::new();
        for entry in self.given.iter().map(Entry::as_it_is) {
            meanings.insert(entry.name.clone(), (Meaning::Given(entry.clone()), entry.clone()));
        }
        let (found, skipped) = scan(&self.root)?;
        for reason in skipped {
            self.say(reason);
        }
        for found in found {
            let entry = found_entry(&found);
            meanings
                .entry(entry.name.clone())
                .or_insert((Meaning::Found(found), entry));
        }
        for (manifest, path) in self.manifests()? {
            let written = path.metadata().and_then(|about| about.modified());
            match self.resolve(&manifest, written.unwrap_or(SystemTime::UNIX_EPOCH)) {
                Ok(entry) => {
                    meanings
                        .entry(entry.name.clone())
                        .or_insert((Meaning::Written(manifest), entry));
                }
                Err(reason) => self.say(format!("{} is not offered: {reason}", manifest.name)),
            }
        }
        Ok(meanings)
    }

    /// The model that a manifest describes, or why there is none.
    pub(super) fn resolve(&self, manifest: &Manifest, modified: SystemTime) -> Result<Entry, String> {
        let mut entry = Entry {
            name: manifest.name.clone(),
            file: None,
            size: 0,
            modified,
            sha256: None,
            parent: manifest.from.clone(),
            system: manifest.system.clone(),
            template: manifest.template.clone(),
            parameters: manifest.parameters.clone(),
            license: (!manifest.license.is_empty()).then(|| manifest.license.join("\n")),
        };
        if manifest.files.is_empty() {
            let from = manifest.from.as_deref().unwrap_or_default();
            let base = self.given.iter().find(|given| given.name == from);
            let base = base
                .ok_or_else(|| format!("it was made from '{from}', which is not offered"))?
                .as_it_is();
            entry.modified = entry.modified.max(base.modified);
            entry.file.clone_from(&base.file);
            entry.sha256.clone_from(&base.sha256);
            entry.size = base.size;
            return Ok(entry);
        }
        for file in &manifest.files {
            let path = file
                .locate(&self.root)
                .ok_or("its description names a file outside the folder")?;
            let size = path
                .metadata()
                .map_err(|error| format!("{}: {error}", path.display()))?
                .len();
            if size != file.size {
                return Err(format!("{} has {size} bytes instead of {}", path.display(), file.size));
            }
            entry.size += size;
            entry.file.get_or_insert(path);
        }
        if let [file] = manifest.files.as_slice() {
            entry.sha256.clone_from(&file.sha256);
        }
        Ok(entry)
    }
}

fn found_entry(found: &Found) -> Entry {
    Entry {
        name: found.name.clone(),
        file: found.files.first().cloned(),
        size: found.size,
        modified: found.modified,
        sha256: None,
        parent: None,
        system: None,
        template: None,
        parameters: serde_json::Map::new(),
        license: None,
    }
}
