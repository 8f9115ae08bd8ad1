//! Which model an agent starts with, and where it is asked: what the user says on the command line, else what the
//! agent's manifest names, else the adapter's own first choice that the manifest admits.
//!
//! Only for clients that speak several wires. What a model costs and whether it may be called the gateway decides; here
//! is only found out which of its doors a model is behind.

use super::{AdapterError, Ground};
use crate::core::scope::matches;

/// A provider of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name, which is part of its address at the gateway.
    pub name: String,
    /// Whose wire it speaks; none for a provider that has its own.
    pub wire: Option<String>,
}

/// The wires that clients of several can speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Anthropic Messages.
    Anthropic,
    /// OpenAI itself: Responses and Chat Completions.
    OpenAi,
    /// Somebody else's endpoint with OpenAI's wire, of which Chat Completions is what all of them have.
    Compatible,
}

/// A model and where it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    /// As the provider calls it.
    pub(crate) model: String,
    /// The provider's name in the configuration.
    pub(crate) endpoint: String,
    /// What is spoken there.
    pub(crate) wire: Wire,
}

/// Chooses. `asked` is what the user names: a model, or `PROVIDER/MODEL` with a provider of the configuration. `usual`
/// are the models that the adapter would take by itself.
pub(crate) fn choose(
    ground: &Ground<'_>,
    asked: Option<&str>,
    usual: &[&str],
) -> Result<Choice, AdapterError> {
    let exact = ground.models.iter().find(|glob| !glob.contains(['*', '?'])).map(String::as_str);
    let admitted = |model: &&&str| ground.models.iter().any(|glob| matches(glob, model));
    let named = asked.or(exact).or_else(|| usual.iter().find(admitted).copied());
    named.map(|named| locate(ground.endpoints, named)).ok_or(AdapterError::NoModel)
}

/// The provider at which a model would be asked, and the model's name there; `named` may be `PROVIDER/MODEL`.
pub fn provider_of(endpoints: &[Endpoint], named: &str) -> (String, String) {
    // Only its own client speaks to it, which asks nobody where.
    if named.starts_with("gemini-") {
        return ("gemini".to_owned(), named.to_owned());
    }
    let Choice { model, endpoint, .. } = locate(endpoints, named);
    (endpoint, model)
}

fn locate(endpoints: &[Endpoint], named: &str) -> Choice {
    let prefixed = named.split_once('/').and_then(|(name, model)| {
        let endpoint = endpoints.iter().find(|endpoint| endpoint.name == name)?;
        Some((endpoint.name.as_str(), model))
    });
    let (endpoint, model) = prefixed.unwrap_or_else(|| (by_family(endpoints, named), named));
    let wire = match endpoints.iter().find(|one| one.name == endpoint).and_then(|one| one.wire.as_deref()) {
        Some("anthropic") => Wire::Anthropic,
        Some(_) => Wire::Compatible,
        None if endpoint == "anthropic" => Wire::Anthropic,
        None => Wire::OpenAi,
    };
    Choice { model: model.to_owned(), endpoint: endpoint.to_owned(), wire }
}

/// Whose model that is, by its name. One of nobody known is at the endpoint that the configuration adds, if there is one.
fn by_family<'a>(endpoints: &'a [Endpoint], model: &str) -> &'a str {
    let is_o = model.strip_prefix('o').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if model.starts_with("claude-") {
        "anthropic"
    } else if is_o || ["gpt-", "chatgpt-", "codex-"].iter().any(|prefix| model.starts_with(prefix)) {
        "openai"
    } else {
        let added = endpoints.iter().find(|endpoint| endpoint.wire.as_deref() == Some("openai"));
        added.map_or("openai", |endpoint| endpoint.name.as_str())
    }
}

/// Takes `--model NAME` (and its other spellings) out of the arguments: the model, and the arguments without it.
pub(crate) fn take_model(args: &[String], spellings: &[&str]) -> (Option<String>, Vec<String>) {
    let mut model = None;
    let mut rest = Vec::new();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            rest.push(word.clone());
            rest.extend(words.cloned());
            break;
        }
        let attached = word.split_once('=').filter(|(name, _)| spellings.contains(name));
        match attached {
            Some((_, value)) => model = Some(value.to_owned()),
            None if spellings.contains(&word.as_str()) => model = words.next().cloned().or(model),
            None => rest.push(word.clone()),
        }
    }
    (model, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::tests::ground;

    fn chosen(models: &[&str], added: &[(&str, &str)], asked: Option<&str>) -> Result<String, AdapterError> {
        let models: Vec<String> = models.iter().map(|model| (*model).to_owned()).collect();
        let endpoints: Vec<Endpoint> = [("anthropic", None), ("gemini", None), ("openai", None)]
            .into_iter()
            .chain(added.iter().map(|(name, wire)| (*name, Some(*wire))))
            .map(|(name, wire)| Endpoint { name: name.to_owned(), wire: wire.map(str::to_owned) })
            .collect();
        let ground = Ground { models: &models, endpoints: &endpoints, ..ground(&[]) };
        let choice = choose(&ground, asked, &["claude-sonnet-5", "gpt-6.1-sol"])?;
        Ok(format!("{} at {} {:?}", choice.model, choice.endpoint, choice.wire))
    }

    #[test]
    fn the_manifest_decides_unless_the_user_does() {
        let usual = "claude-sonnet-5 at anthropic Anthropic";
        assert_eq!(chosen(&["*"], &[], None).unwrap(), usual);
        assert_eq!(chosen(&["gpt-*"], &[], None).unwrap(), "gpt-6.1-sol at openai OpenAi");
        assert_eq!(chosen(&["gpt-*", "o7-mini"], &[], None).unwrap(), "o7-mini at openai OpenAi");
        assert_eq!(chosen(&["*"], &[], Some("gpt-5")).unwrap(), "gpt-5 at openai OpenAi");
        assert_eq!(chosen(&["qwen*"], &[], None), Err(AdapterError::NoModel));
    }

    #[test]
    fn a_model_of_nobody_known_is_at_the_endpoint_that_the_configuration_adds() {
        let added = [("claude-proxy", "anthropic"), ("ollama", "openai")];
        assert_eq!(chosen(&["llama3"], &added, None).unwrap(), "llama3 at ollama Compatible");
        assert_eq!(chosen(&["llama3"], &[], None).unwrap(), "llama3 at openai OpenAi");
        assert_eq!(
            chosen(&["*"], &added, Some("ollama/qwen/qwen3")).unwrap(),
            "qwen/qwen3 at ollama Compatible"
        );
        assert_eq!(chosen(&["*"], &added, Some("qwen/qwen3")).unwrap(), "qwen/qwen3 at ollama Compatible");
        assert_eq!(chosen(&["*"], &added, Some("claude-proxy/x")).unwrap(), "x at claude-proxy Anthropic");
    }

    #[test]
    fn a_models_provider_is_known_without_a_launch() {
        let endpoint = |name: &str, wire: Option<&str>| Endpoint {
            name: name.to_owned(),
            wire: wire.map(str::to_owned),
        };
        let endpoints = [endpoint("openai", None), endpoint("ollama", Some("openai"))];
        for (named, provider, model) in [
            ("claude-sonnet-5", "anthropic", "claude-sonnet-5"),
            ("gemini-3-pro", "gemini", "gemini-3-pro"),
            ("llama3", "ollama", "llama3"),
            ("openai/llama3", "openai", "llama3"),
        ] {
            assert_eq!(provider_of(&endpoints, named), (provider.to_owned(), model.to_owned()));
        }
    }

    #[test]
    fn the_model_is_taken_out_of_the_arguments() {
        let taken = |text: &str| {
            let args: Vec<String> = text.split(' ').map(str::to_owned).collect();
            let (model, rest) = take_model(&args, &["--model", "-m"]);
            (model.unwrap_or_default(), rest.join(" "))
        };
        let of = |model: &str, rest: &str| (model.to_owned(), rest.to_owned());
        assert_eq!(taken("-p x --model gpt-5 -y"), of("gpt-5", "-p x -y"));
        assert_eq!(taken("--model=gpt-5 -m o3 x"), of("o3", "x"));
        assert_eq!(taken("-p x -- --model gpt-5"), of("", "-p x -- --model gpt-5"));
    }
}
