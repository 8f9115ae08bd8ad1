//! The demo's scripted model: Anthropic's wire, no key, nothing but calls.

use http::{Method, StatusCode};

use super::anthropic::Anthropic;
use super::{Provider, Route, Wire};
use crate::gateway::bound::Surcharge;
use crate::gateway::call::{Call, MalformedError};
use crate::gateway::meter::Reader;

static WIRE: Wire = Wire {
    name: "demo",
    routes: &[(Method::POST, "/v1/messages", Route::Call)],
    in_base_url: "",
    key: None,
    surcharge: Surcharge::NONE,
    // The demo is to meet the end of its budget, not to be saved from it.
    output_field: None,
};

pub(super) struct Demo;

impl Provider for Demo {
    fn wire(&self) -> &'static Wire {
        &WIRE
    }

    fn read_call<'a>(&self, path: &'a str, body: &'a [u8]) -> Result<Call<'a>, MalformedError> {
        Anthropic.read_call(path, body)
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
