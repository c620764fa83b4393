//! Memory bandwidth by the name of a chip, where its maker publishes one.

use super::Fact;

/// GB/s of Apple's chips as Apple states them on the specification pages of the machines (support.apple.com: "Mac - Tech Specs").
/// A row with a number of cores holds only for the variant with that many processor cores.
const APPLE: &[(&str, Option<u32>, f64)] = &[
    ("Apple M1", None, 68.25),
    ("Apple M1 Pro", None, 200.0),
    ("Apple M1 Max", None, 400.0),
    ("Apple M1 Ultra", None, 800.0),
    ("Apple M2", None, 100.0),
    ("Apple M2 Pro", None, 200.0),
    ("Apple M2 Max", None, 400.0),
    ("Apple M2 Ultra", None, 800.0),
    ("Apple M3", None, 100.0),
    ("Apple M3 Pro", None, 150.0),
    ("Apple M3 Max", Some(14), 300.0),
    ("Apple M3 Max", Some(16), 400.0),
    ("Apple M3 Ultra", None, 819.0),
    ("Apple M4", None, 120.0),
    ("Apple M4 Pro", None, 273.0),
    ("Apple M4 Max", Some(14), 410.0),
    ("Apple M4 Max", Some(16), 546.0),
    ("Apple M5", None, 153.0),
    ("Apple M5 Pro", None, 307.0),
];

/// Bytes per second of the memory of a chip with this many processor cores.
pub(super) fn bandwidth(chip: &str, cores: Option<u32>) -> Fact<u64> {
    let chip = chip.trim();
    let variants: Vec<_> = APPLE.iter().filter(|(name, ..)| *name == chip).collect();
    if variants.is_empty() {
        return Fact::unknown(format!("no published memory bandwidth is known here for {chip:?}"));
    }
    let fitting = variants
        .iter()
        .find(|(_, variant, _)| variant.is_none() || *variant == cores);
    match fitting {
        Some((.., gigabytes)) => Fact::Known((gigabytes * 1e9) as u64),
        None => Fact::unknown(format!(
            "{chip} is sold with several bandwidths, told apart by cores: {cores:?}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_bandwidth_is_known() {
        assert_eq!(bandwidth("Apple M1", None), Fact::Known(68_250_000_000));
        assert_eq!(bandwidth("Apple M2 Ultra ", Some(24)), Fact::Known(800_000_000_000));
    }

    #[test]
    fn variants_of_one_name_are_told_apart_by_their_cores() {
        assert_eq!(bandwidth("Apple M3 Max", Some(14)), Fact::Known(300_000_000_000));
        assert_eq!(bandwidth("Apple M3 Max", Some(16)), Fact::Known(400_000_000_000));
        assert!(bandwidth("Apple M3 Max", None).get().is_none());
    }

    #[test]
    fn other_chips_are_not_guessed() {
        let Fact::Unknown(reason) = bandwidth("Ryzen 9", Some(16)) else {
            panic!("no number is known")
        };
        assert!(reason.contains("Ryzen 9"), "{reason}");
    }
}
