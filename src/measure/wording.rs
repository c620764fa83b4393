//! Words and sentences from which needles, haystacks and conversations are made: nothing in them can be known before it is
//! read, and the embedded model was trained on sentences of these forms.

use crate::verify::rng::Rng;

const FIRST: [&str; 40] = [
    "Ada", "Alba", "Amos", "Anton", "Astrid", "Boris", "Bruno", "Clara", "Cyrus", "Dana", "Diego", "Edith", "Elias",
    "Emma", "Felix", "Flora", "Greta", "Hanna", "Hugo", "Irene", "Ivan", "Jonas", "Judith", "Karim", "Laura", "Leo",
    "Marta", "Milo", "Nadia", "Noah", "Olga", "Oscar", "Paula", "Quinn", "Rosa", "Simon", "Tilda", "Victor", "Yara",
    "Zoe",
];
const LAST: [&str; 40] = [
    "Abbott", "Archer", "Baker", "Barlow", "Bishop", "Brandt", "Carver", "Chase", "Conrad", "Crane", "Dalton", "Drake",
    "Easton", "Engel", "Finch", "Fisher", "Garner", "Graves", "Harper", "Holt", "Irving", "Jensen", "Keller", "Knight",
    "Larsen", "Lowe", "Mason", "Mercer", "North", "Olsen", "Porter", "Quill", "Rhodes", "Shaw", "Storm", "Thorn",
    "Voss", "Webb", "Wilde", "Young",
];
pub(super) const CITIES: [&str; 24] = [
    "Paris", "London", "Berlin", "Madrid", "Rome", "Vienna", "Oslo", "Lima", "Cairo", "Tokyo", "Dublin", "Athens",
    "Lisbon", "Prague", "Boston", "Chicago", "Denver", "Seattle", "Toronto", "Nairobi", "Geneva", "Naples", "Hamburg",
    "Helsinki",
];
pub(super) const COLORS: [&str; 12] = [
    "red", "blue", "green", "yellow", "purple", "white", "black", "brown", "pink", "gray", "silver", "golden",
];
pub(super) const FRUITS: [&str; 10] = [
    "apple", "pear", "plum", "cherry", "lemon", "melon", "banana", "fig", "kiwi", "apricot",
];
pub(super) const ANIMALS: [&str; 20] = [
    "cat", "dog", "bear", "rabbit", "owl", "crow", "duck", "horse", "cow", "goat", "frog", "turtle", "otter", "badger",
    "eagle", "swan", "seal", "tiger", "camel", "donkey",
];
pub(super) const OBJECTS: [&str; 30] = [
    "lamp", "book", "map", "coin", "ring", "clock", "bell", "kite", "drum", "flute", "mirror", "ladder", "basket",
    "bottle", "candle", "blanket", "hammer", "rope", "bucket", "lantern", "letter", "camera", "ticket", "helmet",
    "guitar", "ribbon", "kettle", "scarf", "wallet", "barrel",
];
pub(super) const PLACES: [&str; 24] = [
    "garden", "kitchen", "cellar", "library", "market", "school", "barn", "tower", "bridge", "harbor", "forest",
    "meadow", "valley", "village", "castle", "station", "museum", "bakery", "mill", "church", "park", "lake", "cabin",
    "office",
];
const QUALITIES: [&str; 20] = [
    "small", "old", "new", "bright", "dark", "quiet", "happy", "brave", "gentle", "round", "warm", "cold", "heavy",
    "clean", "dusty", "wooden", "narrow", "deep", "strange", "calm",
];
pub(super) const JOBS: [&str; 16] = [
    "baker", "farmer", "doctor", "teacher", "pilot", "sailor", "painter", "singer", "judge", "nurse", "miner", "cook",
    "tailor", "driver", "lawyer", "mechanic",
];
const NUMBERS: [&str; 8] = ["two", "three", "four", "five", "six", "seven", "eight", "nine"];

/// Sentences without a fact that anybody asks for; `{name}` is drawn from the list of that name.
const FILLER: [&str; 20] = [
    "The {quality} {animal} slept in the {place}.",
    "It was a {quality} day in {city}.",
    "There is a {quality} {object} in the {place}.",
    "The {place} was {quality} and {quality}.",
    "Nobody saw the {quality} {object}.",
    "The {job} went from {city} to {city}.",
    "The bell rang {number} times.",
    "The wind moved the {quality} leaves.",
    "The {job} said that the {object} was {quality}.",
    "On the way to the {place}, they saw {number} {animal}s.",
    "Every evening the {job} cleaned the {place}.",
    "The train to {city} leaves in the morning.",
    "She painted the {object} {color}.",
    "He sold the {color} {object} at the market.",
    "The road to the {place} is long and {quality}.",
    "The {job} and the {job} met in the {place}.",
    "In {city} the houses are {color} and {color}.",
    "They counted {number} {object}s and went home.",
    "The night was {quality}, and the {place} was empty.",
    "Most {animal}s like {color} things.",
];

/// One of `list`.
pub(super) fn pick<'a>(rng: &mut Rng, list: &[&'a str]) -> &'a str {
    list[rng.below(list.len())]
}

/// First and last name.
pub(super) fn person(rng: &mut Rng) -> String {
    format!("{} {}", pick(rng, &FIRST), pick(rng, &LAST))
}

/// First name.
pub(super) fn first_name(rng: &mut Rng) -> &'static str {
    pick(rng, &FIRST)
}

/// A number of `digits` digits, the first of which is not 0.
pub(super) fn number(rng: &mut Rng, digits: u32) -> String {
    let least = 10_usize.pow(digits - 1);
    (least + rng.below(9 * least)).to_string()
}

/// A filler sentence.
pub(super) fn sentence(rng: &mut Rng) -> String {
    let mut text = String::new();
    let mut rest = pick(rng, &FILLER);
    while let Some((before, (name, after))) = rest.split_once('{').and_then(|(b, r)| Some((b, r.split_once('}')?))) {
        let list: &[&str] = match name {
            "animal" => &ANIMALS,
            "city" => &CITIES,
            "color" => &COLORS,
            "job" => &JOBS,
            "number" => &NUMBERS,
            "object" => &OBJECTS,
            "place" => &PLACES,
            _ => &QUALITIES,
        };
        text += before;
        text += pick(rng, list);
        rest = after;
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_have_no_gaps_and_follow_from_the_seed() {
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            (0..500).map(|_| sentence(&mut rng)).collect::<Vec<_>>()
        };
        let sentences = draw(1);
        assert_eq!(sentences, draw(1));
        assert_ne!(sentences, draw(2));
        for sentence in &sentences {
            assert!(sentence.ends_with('.') && !sentence.contains(['{', '}']), "{sentence}");
            assert!(
                !sentence.contains("  ") && !sentence.chars().any(|c| c.is_ascii_digit()),
                "{sentence}"
            );
        }
    }

    #[test]
    fn numbers_have_the_digits_asked_for() {
        let mut rng = Rng::new(3);
        for digits in 1..7 {
            for _ in 0..200 {
                let number = number(&mut rng, digits);
                assert!(number.len() == digits as usize && !number.starts_with('0'), "{number}");
            }
        }
    }
}
