use super::*;

fn definition(value_type: ValueType) -> Definition {
    Definition {
        key: "tenant".into(),
        value_type,
        default_value: None,
        allowed_values: None,
        required: false,
        description: None,
    }
}

fn strings(texts: &[&str]) -> Vec<Value> {
    texts.iter().map(|&text| Value::String(text.into())).collect()
}

#[test]
fn values_have_to_be_of_their_type() {
    use ValueType::{Boolean, Integer, List, String};
    assert_eq!(parse_value(String, &json!("")), Ok(Value::String("".into())));
    assert_eq!(parse_value(Integer, &json!(-5)), Ok(Value::Integer(-5)));
    assert_eq!(parse_value(Integer, &json!(i64::MIN)), Ok(Value::Integer(i64::MIN)));
    assert_eq!(parse_value(Boolean, &json!(false)), Ok(Value::Boolean(false)));
    assert_eq!(parse_value(List, &json!([])), Ok(Value::List(vec![])));
    assert_eq!(parse_value(List, &json!(["a"])), Ok(Value::List(vec!["a".into()])));
    assert_eq!(parse_value(String, &json!(null)), Ok(Value::Null));
    for (value_type, wrong, path) in [
        (String, json!(5), ""),
        (String, json!("a\0b"), ""),
        (String, json!("x".repeat(MAX_STRING_BYTES + 1)), ""),
        (Integer, json!("5"), ""),
        (Integer, json!(5.5), ""),
        (Integer, json!(u64::MAX), ""),
        (Boolean, json!("true"), ""),
        (List, json!("a"), ""),
        (List, json!(["a", 1]), "[1]"),
        (List, json!(["a", null]), "[1]"),
    ] {
        assert_eq!(
            parse_value(value_type, &wrong).map_err(|issue| issue.path),
            Err(path.into()),
            "{wrong}"
        );
    }
}

#[test]
fn keys_are_plain_and_not_reserved() {
    let longest = "k".repeat(64);
    for (key, good) in [
        ("tenant", true),
        ("T_1", true),
        (longest.as_str(), true),
        ("", false),
        ("1a", false),
        ("_a", false),
        ("a-b", false),
        ("é", false),
        ("username", false),
        ("password", false),
        ("Username", true),
    ] {
        let definition = Definition {
            key: key.into(),
            ..definition(ValueType::String)
        };
        assert_eq!(validate_definition(&definition).is_ok(), good, "{key}");
    }
    assert!(!is_key(&"k".repeat(65)));
}

#[test]
fn defaults_and_allowed_values_have_to_suit_the_type() {
    let string = definition(ValueType::String);
    let wrong = [
        Definition {
            default_value: Some(Value::Integer(1)),
            ..string.clone()
        },
        Definition {
            allowed_values: Some(vec![]),
            ..string.clone()
        },
        Definition {
            allowed_values: Some(vec![Value::Null]),
            ..string.clone()
        },
        Definition {
            allowed_values: Some(vec![Value::Boolean(true)]),
            ..string.clone()
        },
        Definition {
            allowed_values: Some(strings(&["a"])),
            default_value: Some(Value::String("b".into())),
            ..string.clone()
        },
        Definition {
            allowed_values: Some(strings(&["a"])),
            default_value: Some(Value::List(vec!["a".into(), "b".into()])),
            ..definition(ValueType::List)
        },
        Definition {
            allowed_values: Some(vec![Value::List(vec![])]),
            ..definition(ValueType::List)
        },
    ];
    for definition in wrong {
        assert!(validate_definition(&definition).is_err(), "{definition:?}");
    }
    let list = Definition {
        allowed_values: Some(strings(&["a", "b"])),
        default_value: Some(Value::List(vec!["b".into()])),
        ..definition(ValueType::List)
    };
    assert_eq!(validate_definition(&list), Ok(()));
}

#[test]
fn a_value_comes_before_the_default_and_the_default_before_null() {
    let plain = definition(ValueType::String);
    let with_default = Definition {
        default_value: Some(Value::String("d".into())),
        ..plain.clone()
    };
    let required = Definition {
        required: true,
        ..plain.clone()
    };
    let required_with_default = Definition {
        required: true,
        ..with_default.clone()
    };
    let value = json!("v");
    let null = json!(null);
    assert_eq!(resolve(&with_default, Some(&value)), Ok(Value::String("v".into())));
    assert_eq!(resolve(&with_default, Some(&null)), Ok(Value::String("d".into())));
    assert_eq!(resolve(&with_default, None), Ok(Value::String("d".into())));
    assert_eq!(resolve(&plain, None), Ok(Value::Null));
    assert_eq!(resolve(&required, None), Err(ResolveError::Required));
    assert_eq!(resolve(&required, Some(&null)), Err(ResolveError::Required));
    assert_eq!(resolve(&required_with_default, None), Ok(Value::String("d".into())));
}

#[test]
fn a_stored_value_that_does_not_suit_is_an_error_and_never_the_default() {
    let definition = Definition {
        default_value: Some(Value::String("a".into())),
        allowed_values: Some(strings(&["a"])),
        ..definition(ValueType::String)
    };
    assert!(matches!(
        resolve(&definition, Some(&json!("b"))),
        Err(ResolveError::Invalid(_))
    ));
    assert!(matches!(
        resolve(&definition, Some(&json!(1))),
        Err(ResolveError::Invalid(_))
    ));
}

#[test]
fn definitions_survive_json() {
    let value = json!({"key": "regions", "value_type": "list", "default_value": ["eu"], "allowed_values": ["eu", "us"],
        "required": true, "description": "where"});
    let definition = parse_definition(&value).unwrap();
    assert_eq!(definition.to_json(), value);
    let minimal = json!({"key": "a", "value_type": "integer"});
    assert_eq!(parse_definition(&minimal).unwrap().to_json(), minimal);
    for (wrong, path) in [
        (json!({"key": "a"}), "value_type"),
        (json!({"key": "a", "value_type": "text"}), "value_type"),
        (json!({"key": "a", "value_type": "string", "extra": 1}), "extra"),
        (
            json!({"key": "a", "value_type": "list", "allowed_values": ["a", 2]}),
            "allowed_values[1]",
        ),
        (json!({"key": "id", "value_type": "list"}), "key"),
    ] {
        assert_eq!(
            parse_definition(&wrong).map_err(|issue| issue.path),
            Err(path.into()),
            "{wrong}"
        );
    }
}
