//! Request bodies: any content type, one JSON object or list, typed access to its fields.

use std::ops::RangeInclusive;

use axum::body::{Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde_json::{Map, Value};

use crate::commands::serve::error::ApiError;
use crate::commands::serve::paced::TooSlow;

/// The body of a request. The content type is not looked at: `curl -d` sends the wrong one.
#[derive(Clone, Debug)]
pub struct Body(pub Map<String, Value>);

/// The most bytes that a body may have, an extension of requests.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimit(pub usize);

/// A body of any shape.
struct Json(Value);

impl Json {
    async fn from_request<S: Send + Sync>(request: Request, state: &S) -> Result<Self, ApiError> {
        let too_large = || ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "the request body is too large");
        // what is announced need not be read to be refused
        if let Some(BodyLimit(limit)) = request.extensions().get()
            && request.body().size_hint().lower() > *limit as u64
        {
            return Err(too_large());
        }
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => too_large(),
                _ if timed_out(&rejection) => {
                    ApiError::new(StatusCode::REQUEST_TIMEOUT, "the request body did not arrive in time")
                }
                _ => ApiError::invalid(format!("the request body could not be read: {}", rejection.body_text())),
            })?;
        if bytes.is_empty() {
            return Err(ApiError::invalid("missing request body"));
        }
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| ApiError::invalid(format!("the request body is not valid JSON: {error}")))
    }
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match Json::from_request(request, state).await?.0 {
            Value::Object(fields) => Ok(Self(fields)),
            _ => Err(ApiError::invalid("the request body must be a JSON object")),
        }
    }
}

/// The same for a body that is a list.
#[derive(Clone, Debug)]
pub struct List(pub Vec<Value>);

impl<S: Send + Sync> FromRequest<S> for List {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match Json::from_request(request, state).await?.0 {
            Value::Array(values) => Ok(Self(values)),
            _ => Err(ApiError::invalid("the request body must be a JSON array")),
        }
    }
}

/// The same where a body may be left out, which is as good as an empty object.
#[derive(Clone, Debug)]
pub struct OptionalBody(pub Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for OptionalBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        // a body of unknown length is a body; only its absence is certain
        if request.body().size_hint().exact() == Some(0) {
            return Ok(Self(Map::new()));
        }
        Body::from_request(request, state).await.map(|body| Self(body.0))
    }
}

/// Whether the body stopped coming.
fn timed_out(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<TooSlow>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Typed access to an object. A field that is null counts as absent, and errors name the field.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(pub &'a Map<String, Value>);

impl<'a> Fields<'a> {
    /// The value, unless absent or null.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A truth value.
    pub fn bool(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.typed(name, Value::as_bool, "must be true or false")
    }

    /// A text.
    pub fn str(&self, name: &str) -> Result<Option<&'a str>, ApiError> {
        self.typed(name, Value::as_str, "must be a string")
    }

    /// A list.
    pub fn array(&self, name: &str) -> Result<Option<&'a Vec<Value>>, ApiError> {
        self.typed(name, Value::as_array, "must be an array")
    }

    /// A nested object.
    pub fn object(&self, name: &str) -> Result<Option<Fields<'a>>, ApiError> {
        Ok(self.typed(name, Value::as_object, "must be an object")?.map(Fields))
    }

    /// A number in `range`.
    pub fn float(&self, name: &str, range: RangeInclusive<f32>) -> Result<Option<f32>, ApiError> {
        let Some(value) = self.typed(name, Value::as_f64, "must be a number")? else {
            return Ok(None);
        };
        // Compared before narrowing: a huge double would turn into infinity.
        if value < f64::from(*range.start()) || value > f64::from(*range.end()) {
            let (low, high) = range.into_inner();
            return Err(ApiError::param(name, format_args!("must be between {low} and {high}")));
        }
        Ok(Some(value as f32))
    }

    /// A whole number in `range`; `4.0` is one, because some languages know no other.
    pub fn int<T: TryFrom<i64>>(&self, name: &str, range: RangeInclusive<i64>) -> Result<Option<T>, ApiError> {
        let Some(value) = self.typed(name, |value| value.is_number().then_some(value), "must be an integer")? else {
            return Ok(None);
        };
        let (low, high) = (*range.start(), *range.end());
        let outside = || ApiError::param(name, format_args!("must be between {low} and {high}"));
        let whole = match (value.as_i64(), value.as_f64()) {
            (Some(whole), _) => whole,
            (None, Some(float)) if float.fract() != 0.0 => {
                return Err(ApiError::param(name, "must be an integer"));
            }
            // 2^53: beyond it a double no longer says which integer is meant.
            (None, Some(float)) if float.abs() <= 9_007_199_254_740_992.0 => float as i64,
            _ => return Err(outside()),
        };
        if !range.contains(&whole) {
            return Err(outside());
        }
        T::try_from(whole).map(Some).map_err(|_| outside())
    }

    fn typed<T: 'a>(
        &self,
        name: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
        otherwise: &str,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        read(value).map(Some).ok_or_else(|| ApiError::param(name, otherwise))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn int(value: Value) -> Result<Option<u32>, ApiError> {
        Fields(json!({ "x": value }).as_object().unwrap()).int("x", 0..=100)
    }

    #[test]
    fn whole_floats_are_integers() {
        assert_eq!(int(json!(4.0)), Ok(Some(4)));
        assert!(int(json!(4.5)).is_err());
    }

    #[test]
    fn null_is_absent() {
        assert_eq!(int(Value::Null), Ok(None));
    }

    #[test]
    fn out_of_range_is_refused_at_every_size() {
        for value in [
            json!(-1),
            json!(101),
            json!(i64::MAX),
            json!(u64::MAX),
            json!(1e300),
            json!(-1e300),
        ] {
            assert!(int(value.clone()).is_err(), "{value}");
        }
    }

    #[test]
    fn a_float_that_would_overflow_is_refused() {
        let object = json!({ "x": 1e300 });
        let fields = Fields(object.as_object().unwrap());
        assert!(fields.float("x", 0.0..=f32::MAX).is_err());
    }
}
