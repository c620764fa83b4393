//! Every checker with answers that are right and answers that nearly are; every practical prompt with an answer that passes.

use super::*;
use crate::measure::prompts::{Prompt, PromptSet};

fn checker(json: &str) -> Checker {
    serde_json::from_str(json).unwrap()
}

fn check(json: &str, text: &str) -> Result<(), String> {
    checker(json).check(&Answer { text, calls: &[] })
}

#[track_caller]
fn fails(json: &str, text: &str, part: &str) {
    let why = check(json, text).expect_err(text);
    assert!(why.contains(part), "{text}: {why}");
}

#[test]
fn an_equal_text_is_equal_but_for_white_space_around_it() {
    check(r#"{"equals": "two words"}"#, " two words\n").unwrap();
    fails(r#"{"equals": "two words"}"#, "two  words", "two words");
    fails(r#"{"equals": "two words"}"#, "Two words", "two words");
}

#[test]
fn a_number_is_read_as_people_write_it() {
    let json = r#"{"number": {"equals": 1250.5}}"#;
    for text in ["1250.5", "It is 1,250.5.", "First 3, then **1250.50** kg", "$1,250.5"] {
        check(json, text).unwrap();
    }
    fails(json, "1250.5 of 3", "3 instead of");
    fails(json, "-1250.5", "-1250.5");
    fails(json, "none", "no number");
    check(r#"{"number": {"equals": -4}}"#, "It is -4.").unwrap();
    check(r#"{"number": {"equals": 7}}"#, "on 2031-7").unwrap();
    let after = r#"{"number": {"equals": 140, "after": "Answer:"}}"#;
    check(after, "Answer: 3? No.\nAnswer: 140 loaves of 0.6 kg").unwrap();
    fails(after, "The answer is 140", "`Answer:`");
    fails(after, "Answer: 14", "14 instead of 140");
    fails(after, "Answer: many", "no number");
}

#[test]
fn each_rule_holds_and_breaks() {
    let rule = |test: &str| format!(r#"{{"rules": {{"rules": [{{"what": "the rule", {test}}}]}}}}"#);
    for (test, good, bad) in [
        (r#""matches": "^a""#, "ab", "ba"),
        (r#""absent": "(?i)time""#, "tim e", "sometimes"),
        (r#""count": {"pattern": "x", "min": 2, "max": 2}"#, "x.x", "xxx"),
        (r#""count": {"pattern": "x", "max": 0}"#, "y", "x"),
        (r#""words": {"min": 2, "max": 3}"#, "a b c", "a"),
        (r#""lines": {"min": 2, "max": 2}"#, "a\n\nb", "a\nb\nc"),
        (r#""paragraphs": {"min": 2, "max": 2}"#, "a\nb\n \nc\n", "a\nb\nc"),
        (r#""words_per_line": {"max": 2}"#, "a b\n\nc", "a\nb c d"),
    ] {
        check(&rule(test), good).unwrap();
        fails(&rule(test), bad, "the rule");
    }
    let two = r#"{"rules": {"at_least": 1, "rules": [{"what": "a", "matches": "a"}, {"what": "b", "matches": "b"}]}}"#;
    check(two, "b").unwrap();
    fails(two, "c", "2 of 2 rules");
}

#[test]
fn json_is_the_answer_or_a_code_block_in_it() {
    let json = r#"{"json": {"type": "object", "required": ["a"]}}"#;
    check(json, "{\"a\": 1}").unwrap();
    check(json, "Here it is:\n```json\n{\"a\": 1}\n```\nDone.").unwrap();
    fails(json, "The JSON is {\"a\": 1}", "no JSON");
    fails(json, "{\"a\": 1", "no JSON");
    fails(json, "{\"b\": 1}", "no `a`");
    fails(json, "3", "no JSON");
}

fn call(name: &str, arguments: &str) -> Vec<ToolCall> {
    vec![ToolCall {
        id: "1".into(),
        kind: "function".into(),
        function: FunctionCall {
            name: name.into(),
            arguments: arguments.into(),
        },
    }]
}

#[test]
fn a_tool_call_has_a_name_that_is_an_identifier_and_the_required_arguments() {
    let check = |calls: &[ToolCall], text: &str| {
        checker(r#"{"tool_call": {"name": "book", "required": ["n"], "arguments": {"n": 4}}}"#)
            .check(&Answer { text, calls })
    };
    check(&call("book", r#"{"n": 4.0}"#), "").unwrap();
    for text in [
        r#"{"name": "book", "arguments": {"n": 4}}"#,
        r#"<tool_call>{"name": "book", "arguments": "{\"n\": 4}"}</tool_call>"#,
        "```json\n{\"name\": \"book\", \"parameters\": {\"n\": 4}}\n```",
    ] {
        check(&[], text).unwrap();
    }
    for (calls, text, part) in [
        (call("cook", r#"{"n": 4}"#), "", "`cook` was called instead of `book`"),
        (call("book it", r#"{"n": 4}"#), "", "no identifier"),
        (call("", r#"{"n": 4}"#), "", "no identifier"),
        (call("book", r#"{"n": 4"#), "", "no JSON"),
        (call("book", "[4]"), "", "no JSON object"),
        (call("book", r#"{"m": 4}"#), "", "no `n`"),
        (call("book", r#"{"n": "4"}"#), "", "instead of 4"),
        (call("book", r#"{"n": 4, "m": 1}"#), "", "`m`"),
        (vec![], "I would call book with n = 4.", "no tool was called"),
        (vec![], r#"{"name": "book"}"#, "no tool was called"),
    ] {
        let why = check(&calls, text).expect_err(part);
        assert!(why.contains(part), "{part}: {why}");
    }
}

#[test]
fn where_no_tool_fits_a_call_is_wrong_and_so_is_silence() {
    let check = |calls: &[ToolCall], text: &str| checker(r#"{"no_tool_call": true}"#).check(&Answer { text, calls });
    check(&[], "There is no tool for that.").unwrap();
    assert!(check(&call("f", "{}"), "").is_err());
    assert!(check(&[], r#"{"name": "f", "arguments": {}}"#).is_err());
    assert!(check(&[], " ").is_err());
}

#[test]
fn checkers_that_make_no_sense_are_refused() {
    for (json, part) in [
        (r#"{"json": {"anyOf": []}}"#, "anyOf"),
        (r#"{"rules": {"rules": []}}"#, "none"),
        (r#"{"rules": {"rules": [{"what": "a"}], "at_least": 2}}"#, "at_least"),
    ] {
        let why = checker(json).validate().unwrap_err();
        assert!(why.contains(part), "{why}");
    }
    for json in [
        r#"{"sum": 1}"#,
        r#"{"number": {"equals": 1, "near": 2}}"#,
        r#"{"rules": {"rules": [{"wat": 1}]}}"#,
    ] {
        assert!(serde_json::from_str::<Checker>(json).is_err(), "{json}");
    }
}

/// A right answer to each practical prompt, and how to spoil it: what is replaced, by what, and the reason that names it.
type Sample = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str, &'static str)],
);

const SAMPLES: [Sample; 10] = [
    (
        "long_summary",
        "The Calder Reach Bridge is going ahead after a difficult year. Divers found a sinkhole under the west pier, and all \
         work on the deck had to stop until the ground was understood. The stop has cost 4.7 million crowns, which the project \
         paid entirely out of its reserve. Chief engineer Odile Marchetti decided to go on with steel piles that are driven down \
         to bedrock. Because of the delay the bridge does not open in May as planned: the new opening date is 19 September. One \
         risk is still open, since the supplier of the expansion joints is close to bankruptcy.",
        &[
            ("Calder Reach", "Calder", "the name of the bridge"),
            ("4.7", "47", "cost"),
            ("19 September", "9 September", "the new date"),
            ("Chief engineer", "Over soup in the canteen", "no routine"),
        ],
    ),
    (
        "word_problem",
        "Monday: 360 - 90 = 270. Tuesday: 270 + 45 - 63 = 252. Wednesday: 252 - 84 = 168. Thursday: 84. Friday: 84 / 0.6 = \
         140.\nAnswer: 140",
        &[
            ("Answer: 140", "Answer: 150", "150 instead of 140"),
            ("Answer:", "Result:", "`Answer:`"),
        ],
    ),
    (
        "code_generation",
        "```python\nimport csv\n\ndef load_items(path: str) -> list[dict[str, object]]:\n    try:\n        with open(path) as \
         file:\n            rows = list(csv.DictReader(file))\n    except FileNotFoundError as error:\n        raise \
         ValueError(f\"no file {path}\") from error\n    for number, row in enumerate(rows, 2):\n        try:\n            \
         row[\"quantity\"] = int(row[\"quantity\"])\n            row[\"price\"] = float(row[\"price\"])\n        except \
         ValueError as error:\n            raise ValueError(f\"line {number}\") from error\n    return rows\n\ndef \
         total_value(items: list[dict[str, object]]) -> float:\n    return float(sum(i[\"quantity\"] * i[\"price\"] for i in \
         items))\n\ndef restock(items: list[dict[str, object]], sku: str, amount: int) -> list[dict[str, object]]:\n    if \
         amount < 0:\n        raise ValueError(\"negative\")\n    if all(i[\"sku\"] != sku for i in items):\n        raise \
         KeyError(sku)\n    return [{**i, \"quantity\": i[\"quantity\"] + amount} if i[\"sku\"] == sku else dict(i) for i in \
         items]\n```",
        &[
            ("sku: str", "sku", "`sku` of `restock` has no type"),
            ("amount < 0", "amount < 1", "a negative amount"),
            ("raise KeyError(sku)", "return items", "KeyError"),
            ("items]\n```", "items\n```", "missing"),
        ],
    ),
    (
        "code_debugging",
        "1. The mutable default argument `result=[]` lives on between calls.\n2. `range` is off by one, so the last window is \
         left out.\n3. A window of missing values leads to a division by zero.\n\n```python\ndef moving_average(values, size, \
         result=None):\n    result = [] if result is None else result\n    for start in range(len(values) - size + 1):\n        \
         window = [v for v in values[start:start + size] if v is not None]\n        if window:\n            \
         result.append(sum(window) / len(window))\n    return result\n```",
        &[
            ("mutable default argument", "argument", "lives on between calls"),
            ("size + 1)", "size)", "the right range"),
            ("        if window:\n", "", "guards the division"),
            ("result=None", "result=[]", "no list as default"),
        ],
    ),
    (
        "early_recall",
        "The lamp burned rapeseed oil.",
        &[
            ("rapeseed", "olive", "nothing matches"),
            ("lamp", "lamp of Ansgar Velde", "no other fact"),
        ],
    ),
    (
        "translation",
        "## Traducci\u{f3}n\nEl viejo transbordador sale al amanecer, haga el tiempo que haga. El invierno pasado el capit\u{e1}n \
         perdi\u{f3} el sombrero por el viento, y los ni\u{f1}os todav\u{ed}a se r\u{ed}en. Dice que llueve a c\u{e1}ntaros solo cuando es \
         verdad.\n\n## Analysis\n- The idiom became `llover a c\u{e1}ntaros`.\n- `Lost` is a finished act, so the preterite.\n- \
         `Sombrero` is masculine.",
        &[
            (
                "llueve a c\u{e1}ntaros",
                "llueven gatos y perros",
                "word-for-word idiom",
            ),
            ("- `Sombrero`", "`Sombrero`", "three bullet points"),
        ],
    ),
    (
        "instruction_following",
        "PACKING NOTES\n* Wear the boots and pack light socks.\n* Bring a rain jacket for the ridge.\n* Take two litres of \
         water!\n* Carry a map and a small torch.\n* Leave the laptop at home.\nWeight: 7 kg\nEND",
        &[
            ("PACKING NOTES", "Packing notes", "1: "),
            ("* Leave the laptop at home.\n", "", "2: "),
            (
                "at home",
                "at home with a friend who will keep it safe and charged",
                "3: ",
            ),
            ("a map", "boots", "4: "),
            ("boots and", "boots, and", "5: "),
            ("water!", "water.", "6: "),
            ("7 kg", "7.5 kg", "7: "),
            ("END", "End", "8: "),
        ],
    ),
    (
        "structured_output",
        r#"{"order_id": "HX-20417", "created": "2031-03-14", "status": "paid", "priority": 2, "customer": {"name":
         "Imre Kovats", "email": "imre@kovats.example", "vip": true, "age": 47}, "shipping": {"street": "Tisza utca 8", "city":
         "Szeged", "postcode": "6720", "country": "HU", "express": false}, "items": [{"sku": "DL-118", "name": "desk lamp",
         "quantity": 3, "unit_price": 24.5}, {"sku": "CS-007", "name": "cable set", "quantity": 1, "unit_price": 31.0}],
         "discount": null, "total": 104.5, "currency": "EUR", "notes": []}"#,
        &[
            ("\"6720\"", "6720", "$.shipping.postcode"),
            ("\"vip\": true", "\"vip\": \"yes\"", "$.customer.vip"),
            ("\"quantity\": 3", "\"quantity\": 3.5", "$.items[0].quantity"),
            ("\"discount\": null,", "", "`discount`"),
            ("\"notes\": []", "\"notes\": [], \"more\": 1", "`more`"),
            ("\"notes\": []}", "\"notes\": []", "no JSON"),
        ],
    ),
    (
        "tool_call_format",
        r#"{"name": "book_table", "arguments": {"restaurant": "Zur Linde", "date": "2031-05-02", "hour": "19:30", "people": 4}}"#,
        &[
            ("book_table", "find_restaurant", "instead of"),
            (", \"people\": 4", "", "`people`"),
        ],
    ),
    (
        "creative_writing",
        "",
        &[
            ("town", "sometimes", "time"),
            ("Nobody", "No one", "Nobody"),
            ("?", ".", "question"),
        ],
    ),
];

/// 480 words that keep the constraints; what they tell is not judged.
fn story() -> String {
    let filling = "The town of Brackwater heard wheels turn the wrong way. ".repeat(11);
    let paragraph = format!("{filling}\"Leave it,\" said Mira.");
    format!(
        "Nobody in the town knew the clock. {paragraph}\n\n{paragraph}\n\n{paragraph}\n\n{paragraph} Who would wind it?"
    )
}

fn practical() -> PromptSet {
    PromptSet::from_json(include_str!("../../../benchmarks/test_prompts.json")).unwrap()
}

fn judge(prompt: &Prompt, text: &str) -> Result<(), String> {
    match &prompt.expected_pattern {
        Some(pattern) if !pattern.is_match(text) => return Err("nothing matches".into()),
        _ => {}
    }
    let answer = Answer { text, calls: &[] };
    prompt.checker.as_ref().map_or(Ok(()), |checker| checker.check(&answer))
}

#[test]
fn every_practical_prompt_has_an_answer_that_passes_and_near_misses_that_do_not() {
    let set = practical();
    let mut missing: Vec<&str> = set.prompts.iter().map(|prompt| prompt.id.as_str()).collect();
    missing.retain(|id| *id != "technical_qa");
    for (id, good, spoilt) in SAMPLES {
        missing.retain(|other| *other != id);
        let good = if id == "creative_writing" {
            story()
        } else {
            good.to_owned()
        };
        let prompt = set.get(id).unwrap();
        judge(prompt, &good).unwrap_or_else(|why| panic!("{id}: {why}"));
        for (from, to, part) in spoilt {
            assert!(good.contains(from), "{id}: {from}");
            let Err(why) = judge(prompt, &good.replace(from, to)) else {
                panic!("{id}: passes with `{to}` for `{from}`")
            };
            assert!(why.contains(part), "{id}: {to}: {why}");
        }
    }
    assert_eq!(missing, [] as [&str; 0]);
}

#[test]
fn each_turn_of_the_conversation_has_an_answer_that_passes_and_one_that_does_not() {
    let set = practical();
    let turns = &set.get("technical_qa").unwrap().turns;
    let answers = [
        ("Acknowledge it after it is processed.", "Acknowledge it before."),
        ("Four of them.", "Three of them."),
        ("2 copies.", "3 copies."),
        ("Running it twice has the same effect.", "It is fast."),
        ("Larkspur.", "Lark."),
        ("12,000 bytes", "1200 bytes"),
        ("800 ms.", "1800 ms."),
        ("Yes, it can.", "It can, yes."),
        ("Idempotence.", "Durability."),
        (
            "Larkspur keeps six copies; four are a majority.",
            "Larkspur keeps six copies.",
        ),
    ];
    assert_eq!(turns.len(), answers.len());
    for (turn, (good, bad)) in turns.iter().zip(answers) {
        let pattern = turn.expected_pattern.as_ref().unwrap();
        assert!(
            pattern.is_match(good) && !pattern.is_match(bad),
            "{}: {good} / {bad}",
            turn.prompt
        );
    }
}
