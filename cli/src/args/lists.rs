//! Lists of numbers as llama-bench reads them: `512,1024`, `0-4096+1024`, `512-8192*2`.

use std::str::FromStr;

/// More values than this in one option are a slip of the pen.
const MOST: usize = 1000;

/// One occurrence of an option that takes a list; its values in the order written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts(pub Vec<u32>);

impl FromStr for Counts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut values = Vec::new();
        for part in text.split(',') {
            range(part.trim(), &mut values)?;
        }
        Ok(Self(values))
    }
}

/// Appends `first[-last[+step|*factor]]`.
fn range(text: &str, values: &mut Vec<u32>) -> Result<(), String> {
    const HOW: &str = "write N, FIRST-LAST, FIRST-LAST+STEP or FIRST-LAST*FACTOR, several of them with commas between";
    let number = |part: &str| {
        part.parse::<u32>()
            .map_err(|_| format!("`{part}` in `{text}` is no number from 0 to {}; {HOW}", u32::MAX))
    };
    let Some((first, rest)) = text.split_once('-') else {
        values.push(number(text)?);
        return Ok(());
    };
    let (last, times, step) = match (rest.split_once('+'), rest.split_once('*')) {
        (Some((last, step)), None) => (last, false, number(step)?),
        (None, Some((last, factor))) => (last, true, number(factor)?),
        (None, None) => (rest, false, 1),
        (Some(_), Some(_)) => return Err(format!("`{text}` is no range; {HOW}")),
    };
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(format!("the range `{text}` is empty: {first} is more than {last}"));
    }
    let mut value = first;
    loop {
        values.push(value);
        if values.len() > MOST {
            return Err(format!("`{text}` makes more than {MOST} values; take a larger step"));
        }
        let next = if times {
            value.checked_mul(step)
        } else {
            value.checked_add(step)
        };
        match next {
            Some(next) if next == value => {
                return Err(if times && value == 0 {
                    format!(
                        "`{text}` stays at 0 whatever it is multiplied by; write 0,FIRST-{last}*{step} with a FIRST above 0"
                    )
                } else {
                    format!("`{text}` never gets on: the step is too small")
                });
            }
            Some(next) if next > value && next <= last => value = next,
            _ => return Ok(()),
        }
    }
}

/// Layers on the GPU: a count, or -1 for all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layers(pub Vec<Option<u32>>);

impl FromStr for Layers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut values = Vec::new();
        for part in text.split(',').map(str::trim) {
            if part == "-1" {
                values.push(None);
            } else {
                let mut counts = Vec::new();
                range(part, &mut counts).map_err(|why| format!("{why}; -1 means all layers"))?;
                values.extend(counts.into_iter().map(Some));
            }
        }
        Ok(Self(values))
    }
}

/// `-pg PP,TG`: a prompt and the answer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptAndAnswer {
    /// Tokens of the prompt.
    pub n_prompt: u32,
    /// Tokens generated.
    pub n_gen: u32,
}

impl FromStr for PromptAndAnswer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is not two numbers; write PROMPT,GENERATED, for example 512,128");
        let (n_prompt, n_gen) = text.split_once(',').ok_or_else(wrong)?;
        let number = |part: &str| part.trim().parse::<u32>().map_err(|_| wrong());
        Ok(Self {
            n_prompt: number(n_prompt)?,
            n_gen: number(n_gen)?,
        })
    }
}

/// `0` or `1`, several with commas between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switches(pub Vec<bool>);

impl FromStr for Switches {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let one = |part: &str| match part.trim() {
            "0" => Ok(false),
            "1" => Ok(true),
            other => Err(format!("`{other}` is neither 0 nor 1")),
        };
        text.split(',').map(one).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(text: &str) -> Result<Vec<u32>, String> {
        text.parse::<Counts>().map(|counts| counts.0)
    }

    #[test]
    fn lists_and_ranges_are_llama_benchs() {
        for (text, expected) in [
            ("512", vec![512]),
            ("512,1024", vec![512, 1024]),
            ("1-4", vec![1, 2, 3, 4]),
            ("0-4096+1024", vec![0, 1024, 2048, 3072, 4096]),
            ("0-10+4", vec![0, 4, 8]),
            ("512-8192*2", vec![512, 1024, 2048, 4096, 8192]),
            ("3-20*2,7", vec![3, 6, 12, 7]),
            ("0", vec![0]),
            ("4294967290-4294967295*2", vec![4_294_967_290]),
        ] {
            assert_eq!(counts(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn mistakes_are_named_with_what_to_write() {
        for (text, part) in [
            ("x", "`x`"),
            ("", "``"),
            ("1,", "``"),
            ("-5", "FIRST-LAST"),
            ("1-2-3", "`2-3`"),
            ("9-3", "9 is more than 3"),
            ("1-9+0", "step is too small"),
            ("5-5*1", "step is too small"),
            ("0-16384*2", "0,FIRST-16384*2"),
            ("1-9*2+3", "no range"),
            ("99999999999", "99999999999"),
            ("0-9999999", "larger step"),
        ] {
            let message = counts(text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn layers_switches_and_pairs() {
        assert_eq!("-1,0-20*2".parse::<Layers>().ok(), None);
        assert_eq!("-1,10,20".parse::<Layers>().unwrap().0, [None, Some(10), Some(20)]);
        assert!("-2".parse::<Layers>().unwrap_err().contains("-1"));
        assert_eq!("0,1".parse::<Switches>().unwrap().0, [false, true]);
        assert!("yes".parse::<Switches>().unwrap_err().contains("`yes`"));
        let pair = "512,128".parse::<PromptAndAnswer>().unwrap();
        assert_eq!((pair.n_prompt, pair.n_gen), (512, 128));
        for text in ["512", "1,2,3", "a,b", ""] {
            assert!(text.parse::<PromptAndAnswer>().is_err(), "{text}");
        }
    }
}
