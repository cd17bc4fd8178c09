//! The text form of times in the API: UTC without a zone, `YYYY-MM-DDTHH:MM:SS[.ffffff]`.

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::{Deserialize, Deserializer, Serializer};
use serde_json::json;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// Times in the description of the API, which are not what JSON Schema calls a `date-time`: that has a zone.
pub struct UtcTime;

impl PartialSchema for UtcTime {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("A time in UTC, without a zone."))
            .pattern(Some(
                "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,6})?$",
            ))
            .examples([json!("2026-11-21T10:00:00.123456")])
            .into()
    }
}

impl ToSchema for UtcTime {}

/// Writes a time.
pub fn utc<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&time.naive_utc().format("%Y-%m-%dT%H:%M:%S%.f"))
}

/// Writes a time that may be missing.
pub fn optional<S: Serializer>(time: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => utc(time, serializer),
        None => serializer.serialize_none(),
    }
}

/// Reads a time with a zone (RFC 3339), or without one, which is UTC.
pub fn parse(text: &str) -> Option<DateTime<Utc>> {
    let zoned = DateTime::parse_from_rfc3339(text).map(|time| time.to_utc());
    let naive = || text.parse::<NaiveDateTime>().map(|time| time.and_utc());
    let date = || {
        text.parse::<chrono::NaiveDate>()
            .map(|date| date.and_time(chrono::NaiveTime::MIN).and_utc())
    };
    zoned.or_else(|_| naive()).or_else(|_| date()).ok()
}

/// Reads a time that may be missing.
pub fn read_optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| parse(&text).ok_or_else(|| serde::de::Error::custom("is not a time")))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_and_without_a_zone() {
        let expected = parse("2026-11-21T10:00:00.5Z").unwrap();
        for text in [
            "2026-11-21T10:00:00.5",
            "2026-11-21T11:00:00.500+01:00",
            "2026-11-21T10:00:00.500000",
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
        assert_eq!(parse("2026-11-21"), parse("2026-11-21T00:00:00Z"));
        assert_eq!(parse("yesterday"), None);
    }

    #[test]
    fn times_are_written_without_a_zone() {
        #[derive(serde::Serialize)]
        struct Row(#[serde(serialize_with = "utc")] DateTime<Utc>);
        let written = |text| serde_json::to_string(&Row(parse(text).unwrap())).unwrap();
        assert_eq!(written("2026-11-21T11:00:00+01:00"), "\"2026-11-21T10:00:00\"");
        assert_eq!(written("2026-11-21T10:00:00.123456Z"), "\"2026-11-21T10:00:00.123456\"");
    }
}
