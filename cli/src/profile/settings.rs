//! What a profile says, as options of `serve`.

use anyhow::{Result, bail};

/// Options of `serve` by their long names, each once, and what the reader should be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Name and value; `true` for a switch.
    pub options: Vec<(String, String)>,
    /// Sentences for the log.
    pub notes: Vec<String>,
}

impl Settings {
    /// The value of an option.
    pub fn get(&self, option: &str) -> Option<&str> {
        let mut options = self.options.iter();
        options
            .find(|(name, _)| name == option)
            .map(|(_, value)| value.as_str())
    }

    /// Adds what the field `field` of the profile says about `option`.
    ///
    /// # Errors
    /// Another value than the one that is there, from the server's command.
    pub fn agree(&mut self, field: &str, option: &str, value: &str) -> Result<()> {
        match self.get(option) {
            None => self.options.push((option.to_owned(), value.to_owned())),
            Some(there) if same(option, there, value) => {}
            Some(there) => bail!(
                "it contradicts itself: {field} is {value}, and its server command says --{option} {there}; make both say the same"
            ),
        }
        Ok(())
    }
}

/// Types and the local host have several spellings.
fn same(option: &str, one: &str, other: &str) -> bool {
    if option.starts_with("cache-type") {
        return one.eq_ignore_ascii_case(other);
    }
    let host = |name: &str| if name == "localhost" { "127.0.0.1" } else { name }.to_owned();
    one == other || (option == "host" && host(one) == host(other))
}
