//! The demo's scripted model: Anthropic's wire, no key, nothing but calls.

use http::{HeaderMap, Method, StatusCode, header};

use super::anthropic::Anthropic;
use super::{Provider, Route};
use crate::gateway::bound::Surcharge;
use crate::gateway::call::{Call, MalformedError};
use crate::gateway::meter::Reader;

pub(super) struct Demo;

impl Provider for Demo {
    fn name(&self) -> &'static str {
        "demo"
    }

    fn route(&self, method: &Method, path: &str, headers: &HeaderMap) -> Route {
        match Anthropic.route(method, path, headers) {
            Route::Call => Route::Call,
            _ => Route::Unknown,
        }
    }

    fn upstream_path<'a>(&self, path: &'a str) -> &'a str {
        path
    }

    fn set_key(&self, _headers: &mut HeaderMap, _key: &str) -> Result<(), header::InvalidHeaderValue> {
        Ok(())
    }

    fn read_call<'a>(&self, body: &'a [u8]) -> Result<Call<'a>, MalformedError> {
        Anthropic.read_call(body)
    }

    fn surcharge(&self) -> Surcharge {
        Surcharge { numerator: 1, denominator: 1 }
    }

    fn reader(&self, call: &Call<'_>) -> Box<dyn Reader> {
        Anthropic.reader(call)
    }

    fn error(&self, status: StatusCode, message: &str) -> Vec<u8> {
        Anthropic.error(status, message)
    }

    fn stream_error(&self, message: &str) -> Vec<u8> {
        Anthropic.stream_error(message)
    }
}
