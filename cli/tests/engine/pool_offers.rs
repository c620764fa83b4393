//! What a pool of models offers, and under which names.

use crate::zoo::*;
use llama_turboquant_cli::commands::serve::backend::{Backend, BackendError, CancelToken, ChatPrompt, Wanted};
use llama_turboquant_cli::commands::serve::engine::{Engine, FixedCatalog, Limits};
use llama_turboquant_cli::commands::serve::on_offer::{self, OnOffer};
use llama_turboquant_cli::options::ModelOverrides;
use llama_turboquant_cli::settings::ModelSettings;
use llama_turboquant_cli::store::Store;
use llama_turboquant_cli::store::{Catalog, Entry};
use serde_json::{Map, json};
use std::sync::Arc;

#[test]
fn names_are_matched_as_there_are_many_or_one() {
    let zoo = Zoo::new();
    let unknown = zoo.open("gpt-4o").unwrap_err();
    assert_eq!(unknown, BackendError::UnknownModel("gpt-4o".into()));
    let nameless = zoo.open_as(Wanted::default()).unwrap_err();
    assert!(
        matches!(&nameless, BackendError::InvalidRequest { param: Some(param), .. } if param == "model"),
        "{nameless:?}"
    );

    for name in ["b", "c", "d"] {
        std::fs::remove_file(zoo.dir.path().join(format!("{name}.gguf"))).unwrap();
    }
    assert_eq!(zoo.open("gpt-4o").unwrap().card.id, "a");
    assert_eq!(zoo.open_as(Wanted::default()).unwrap().card.id, "a");
    let exact = Wanted {
        exact: true,
        ..Wanted::named(Some("gpt-4o"))
    };
    assert_eq!(
        zoo.open_as(exact).unwrap_err(),
        BackendError::UnknownModel("gpt-4o".into())
    );
}

#[test]
fn a_broken_file_is_left_out_of_the_list_and_refused_by_name() {
    let zoo = Zoo::new();
    let broken = zoo.dir.path().join("b.gguf");
    let whole = std::fs::read(&broken).unwrap();
    std::fs::write(&broken, &whole[..whole.len() / 2]).unwrap();
    std::fs::write(zoo.dir.path().join("c.gguf"), b"GGUFgarbage").unwrap();
    let ids: Vec<String> = zoo.engine.offers().unwrap().into_iter().map(|offer| offer.id).collect();
    assert!(
        ids.contains(&"a".to_owned()) && ids.contains(&"d".to_owned()),
        "{ids:?}"
    );
    assert!(!ids.contains(&"c".to_owned()), "{ids:?}");
    for name in ["b", "c"] {
        let refused = zoo.open(name).unwrap_err();
        let BackendError::Unavailable(message) = &refused else {
            panic!("{refused:?}")
        };
        assert!(message.contains(&format!("'{name}'")), "{message}");
        let folder = zoo.dir.path().display().to_string();
        assert!(!message.contains(&folder), "no paths for clients: {message}");
    }
    zoo.touch("d");
}

#[test]
fn offers_describe_models_without_loading_them() {
    let zoo = Zoo::new();
    let offers = zoo.engine.offers().unwrap();
    let ids: Vec<&str> = offers.iter().map(|offer| offer.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c", "d"]);
    assert_eq!(
        (offers[0].architecture.as_str(), offers[0].n_ctx_train),
        ("llama", 4096)
    );
    assert_eq!(offers[0].quantization, "F16");
    let details = zoo.engine.details("b").unwrap();
    assert_eq!(details.metadata["llama.context_length"], 4096);
    assert_eq!(details.offer, offers[1]);
    assert_eq!(
        zoo.engine.details("x").unwrap_err(),
        BackendError::UnknownModel("x".into())
    );
    assert!(zoo.loaded().is_empty());
}

#[test]
fn an_alias_brings_its_template_and_its_context() {
    let zoo = Zoo::new();
    let folder = Store::open(zoo.dir.path().to_owned()).unwrap();
    let parameters = json!({ "num_ctx": 768, "kv_cache_type": "q8_0" });
    let alias = Entry {
        name: "pirate".into(),
        template: Some("{% for m in messages %}Arr! {{ m.content }}{% endfor %}".into()),
        system: Some("Talk like a pirate.".into()),
        parameters: parameters.as_object().cloned().unwrap_or_else(Map::new),
        parent: Some("a".into()),
        ..folder.find("a").unwrap().unwrap()
    };
    let catalog = Arc::new(FixedCatalog::new(vec![alias]));
    let engine = Engine::new(catalog, settings(&["-c", "512"]), Limits::default(), None).unwrap();
    let opened = engine
        .open(&Wanted::named(Some("pirate")), &CancelToken::new())
        .unwrap();
    assert_eq!((opened.card.n_ctx, opened.card.kv.type_k.as_str()), (768, "q8_0"));
    let prompt = ChatPrompt {
        messages: json!([{ "role": "user", "content": "hello" }]),
        ..ChatPrompt::default()
    };
    assert_eq!(engine.render("pirate", prompt).unwrap().trim(), "Arr! hello");
    let details = engine.details("pirate").unwrap();
    assert_eq!(details.system.as_deref(), Some("Talk like a pirate."));
    assert_eq!(details.parent.as_deref(), Some("a"));
    assert_eq!(details.parameters["num_ctx"], 768);
}

#[test]
fn a_model_of_the_folder_has_the_name_and_the_options_of_the_configuration_file() {
    let zoo = Zoo::with(|_| {});
    let folder = zoo.dir.path().to_str().unwrap();
    let args = args(&["--models-dir", folder]);
    let said = |name: &str| ModelOverrides {
        alias: Some("other".into()),
        ctx_size: Some(384),
        ..ModelOverrides::new(name)
    };
    let settings = ModelSettings::new(&args.model, 1).unwrap();
    let models = [said("a")];
    let offered = OnOffer::new(&args, &models, &settings).unwrap();
    let limits = on_offer::limits(&args, &models).unwrap();
    let engine = Engine::new(offered.catalog, settings.clone(), limits, offered.start_up).unwrap();
    for name in ["other", "a"] {
        let opened = engine
            .open(
                &Wanted {
                    exact: true,
                    ..Wanted::named(Some(name))
                },
                &CancelToken::new(),
            )
            .unwrap();
        assert_eq!(
            opened.card.n_ctx_total, 512,
            "384 rounded up to what the engine takes, for {name}"
        );
    }
    let gone = OnOffer::new(&args, &[said("nobody")], &settings).err().unwrap();
    assert!(format!("{gone:#}").contains("nobody"), "{gone:#}");
}
