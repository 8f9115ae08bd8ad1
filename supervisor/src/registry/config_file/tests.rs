#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::core::data::{DataRules, Destination, Treatment};
use crate::core::detect::Kind;
use crate::core::policy::Pack;
use crate::registry::source::{Local, Source};

fn problems(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    read(Path::new("config.toml"), text, &mut found);
    found.iter().map(ToString::to_string).collect()
}

fn good(text: &str) -> Config {
    let mut found = Vec::new();
    let config = read(Path::new("config.toml"), text, &mut found);
    assert_eq!(found, []);
    config
}

const CONTRACT: &str = r#"
[providers.anthropic]
base_url = "https://api.anthropic.com"      # any URL, so that a test can point it at loopback
key = "env:ANTHROPIC_API_KEY"               # or "keyring:anthropic"; `agentsup key set anthropic` fills the keyring

[providers.openai]                          # Responses and Chat Completions
base_url = "https://api.openai.com/v1"
key = "keyring:openai"

[providers.gemini]
base_url = "https://generativelanguage.googleapis.com"
key = "keyring:gemini"

[prices."my-model"]                         # overrides and private models, in nano-USD per token, integers
input = 3000
output = 15000

[mcp.servers.github]                        # stdio
command = ["github-mcp-server", "stdio"]
env = { GITHUB_TOKEN = "keyring:github" }

[mcp.servers.docs]                          # streamable HTTP
url = "https://example.invalid/mcp"

[registry]                                  # where manifests come from; absent = $AGENTSUP_HOME/manifests only
git = "https://example.invalid/platform/agents.git"
"#;

#[test]
fn the_contracts_example_is_read() {
    let provider = |url: &str, key: &str| ProviderConfig {
        base_url: Url::parse(url).unwrap(),
        key: Some(key.parse().unwrap()),
        multiplier_bp: 10_000,
        wire: None,
        reconcile: None,
        max_price: None,
    };
    let expected = Config {
        providers: BTreeMap::from([
            ("anthropic".into(), provider("https://api.anthropic.com", "env:ANTHROPIC_API_KEY")),
            ("gemini".into(), provider("https://generativelanguage.googleapis.com", "keyring:gemini")),
            ("openai".into(), provider("https://api.openai.com/v1", "keyring:openai")),
        ]),
        prices: BTreeMap::from([(
            "my-model".into(),
            PriceOverride {
                input: NanoUsd::new(3000).unwrap(),
                output: NanoUsd::new(15000).unwrap(),
                ..PriceOverride::default()
            },
        )]),
        list_prices: BTreeMap::new(),
        mcp_servers: BTreeMap::from([
            (
                "github".into(),
                McpServerConfig::Stdio {
                    command: vec!["github-mcp-server".into(), "stdio".into()],
                    env: BTreeMap::from([(
                        "GITHUB_TOKEN".into(),
                        Setting::Secret(SecretRef::Keyring("github".into())),
                    )]),
                    cwd: None,
                },
            ),
            (
                "docs".into(),
                McpServerConfig::Http {
                    url: Url::parse("https://example.invalid/mcp").unwrap(),
                    headers: BTreeMap::new(),
                },
            ),
        ]),
        data: crate::core::data::DataRules::default(),
        breakers: Limits::default(),
        acs_manifest: None,
        policy_pack: Pack::Standard,
        desktop_notifications: Switch::On,
        approval_timeout_ms: 300_000,
        facts_kept_ms: Some(30 * 24 * 3_600_000),
        registry: Some(Source {
            git: "https://example.invalid/platform/agents.git".into(),
            branch: "main".into(),
            path: PathBuf::new(),
            every_ms: 300_000,
            local: Local::Policies,
        }),
    };
    assert_eq!(good(CONTRACT), expected);
}

#[test]
fn what_is_left_out_keeps_its_default() {
    assert_eq!(good(""), Config::default());
    let config = good(
        "[providers.anthropic]\nbase_url = \"http://127.0.0.1:1/x\"\n[providers.own]\nbase_url = \"http://h\"\nwire = \"openai\"\n",
    );
    assert_eq!(config.providers["anthropic"].key.as_ref().unwrap().to_string(), "keyring:anthropic");
    assert_eq!(config.providers["anthropic"].base_url.as_str(), "http://127.0.0.1:1/x");
    assert_eq!(config.providers["own"].key.as_ref().unwrap().to_string(), "keyring:own");
    assert_eq!(config.providers["own"].wire.as_deref(), Some("openai"));
    assert_eq!(config.providers["openai"], Config::default().providers["openai"]);
}

#[test]
fn the_desktop_is_told_of_alerts_unless_that_is_off() {
    let set = |value: &str| format!("[notifications]\ndesktop = {value}\n");
    assert_eq!(good(&set("\"off\"")).desktop_notifications, Switch::Off);
    assert_eq!(good(&set("\"on\"")).desktop_notifications, Switch::On);
    let wrong = problems("[notifications]\ndesktop = false\nphone = \"on\"\n");
    assert_eq!(wrong.len(), 2, "{wrong:?}");
}

#[test]
fn what_decisions_were_about_is_kept_for_some_days_or_not_at_all() {
    assert_eq!(good("[audit]\nfacts = \"7d\"\n").facts_kept_ms, Some(7 * 24 * 3_600_000));
    assert_eq!(good("[audit]\nfacts = \"off\"\n").facts_kept_ms, None);
    for wrong in ["0d", "7h", "d", "4000d", "-1d"] {
        assert_eq!(problems(&format!("[audit]\nfacts = \"{wrong}\"\n")).len(), 1, "{wrong}");
    }
}

#[test]
fn breakers_are_set_one_by_one_and_can_be_switched_off() {
    let config = good(
        "[breakers]\nspend_per_minute = \"12.50 USD\"\ncalls_per_minute = \"off\"\nrefusals_per_minute = 7\ntimes_usual = 3\n",
    );
    let expected = Limits {
        spend_per_minute: NanoUsd::new(12_500_000_000).ok(),
        calls_per_minute: None,
        refusals_per_minute: Some(7),
        times_usual: Some(3),
        ..Limits::default()
    };
    assert_eq!(config.breakers, expected);
    assert_eq!(good("[breakers]\nspend_per_minute = \"off\"\n").breakers.spend_per_minute, None);
    let mut found = Vec::new();
    let wrong = "[breakers]\nspend_per_minute = \"much\"\ncalls_per_minute = \"some\"\nper_hour = 1\n";
    read(Path::new("config.toml"), wrong, &mut found);
    let fields: Vec<&str> = found.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["breakers.spend_per_minute", "breakers.calls_per_minute", "breakers.per_hour"]);
}

#[test]
fn every_setting_that_can_be_made_is_read() {
    let config = good(
        "[prices.m]\ninput = 1_000\noutput = 2\ncache_write_5m = 3\ncache_write_1h = 4\ncache_read = 0\nmax_output = 64000\n\
         [mcp.servers.s]\ncommand = [\"x\"]\nenv = { A = \"plain\", B = \"env:B\" }\ncwd = \"/srv\"\n\
         [mcp.servers.h]\nurl = \"http://127.0.0.1:9/mcp\"\nheaders = { Authorization = \"keyring:h\" }\n\
         [approvals]\ntimeout = \"45m\"\n",
    );
    let nano = |amount| NanoUsd::new(amount).unwrap();
    assert_eq!(
        config.prices["m"],
        PriceOverride {
            input: nano(1000),
            output: nano(2),
            cache_write_5m: Some(nano(3)),
            cache_write_1h: Some(nano(4)),
            cache_read: Some(nano(0)),
            max_output: Some(64_000),
            context: None,
            long: None,
        }
    );
    assert_eq!(
        config.mcp_servers["s"],
        McpServerConfig::Stdio {
            command: vec!["x".into()],
            env: BTreeMap::from([
                ("A".into(), Setting::Plain("plain".into())),
                ("B".into(), Setting::Secret(SecretRef::Env("B".into()))),
            ]),
            cwd: Some("/srv".into()),
        }
    );
    let McpServerConfig::Http { headers, .. } = &config.mcp_servers["h"] else { unreachable!() };
    assert_eq!(headers["Authorization"], Setting::Secret(SecretRef::Keyring("h".into())));
    assert_eq!(config.approval_timeout_ms, 2_700_000);
}

const FAULTY: &str = r#"
colour = "red"
[providers.anthropic]
base_url = "ftp://x"
key = "sk-ant-secret"
kye = 1
[providers.own]
wire = "openai"
[providers."a b"]
base_url = "https://user:pw@h"
wire = "openai"
[providers.q]
base_url = "https://h/?a=1"
wire = "openai"
[prices.m]
input = 0.5
output = -1
[prices.n]
input = 1
cache_read = "2"
[mcp.servers.both]
command = ["x"]
url = "https://h"
[mcp.servers.none]
[mcp.servers.stdio]
command = []
[mcp.servers.words]
command = ["x", 1]
cwd = "rel"
headers = { A = "b" }
[mcp.servers.a__b]
url = "nope"
[mcp.servers.env]
command = ["x"]
env = { A = "env:1", B = 2 }
[mcp.extra]
[approvals]
timeout = 5
[registry]
git = ""
"#;

#[test]
fn every_problem_names_its_place() {
    assert_eq!(
        problems(FAULTY),
        [
            "config.toml:4:12: providers.anthropic.base_url: `ftp://x` is not an http or https URL",
            "config.toml:5:7: providers.anthropic.key: does not say where the secret is",
            "config.toml:6:1: providers.anthropic.kye: is not a known field",
            "config.toml:7:1: providers.own.base_url: is missing",
            "config.toml:9:12: providers.\"a b\": `a b` is not a name (letters, digits, `-`, and single `_`)",
            "config.toml:10:12: providers.\"a b\".base_url: holds a user name or password",
            "config.toml:13:12: providers.q.base_url: `https://h/?a=1` has a query or a fragment",
            "config.toml:16:9: prices.m.input: is a number with decimals, expected an integer",
            "config.toml:17:10: prices.m.output: `-1` is not an integer from 0 to 9223372036854775807",
            "config.toml:18:1: prices.n.output: is missing",
            "config.toml:20:14: prices.n.cache_read: is text, expected an integer",
            "config.toml:21:1: mcp.servers.both: needs either `command` (a program) or `url` (streamable HTTP)",
            "config.toml:24:1: mcp.servers.none: needs either `command` (a program) or `url` (streamable HTTP)",
            "config.toml:26:11: mcp.servers.stdio.command: is an empty list",
            "config.toml:28:17: mcp.servers.words.command[1]: is an integer, expected text",
            "config.toml:29:7: mcp.servers.words.cwd: `rel` is not an absolute path",
            "config.toml:30:1: mcp.servers.words.headers: is not a known field",
            "config.toml:31:14: mcp.servers.a__b: `a__b` is not a name (letters, digits, `-`, and single `_`)",
            "config.toml:32:7: mcp.servers.a__b.url: `nope` is not a URL: relative URL without a base",
            "config.toml:35:13: mcp.servers.env.env.A: does not say where the secret is",
            "config.toml:35:26: mcp.servers.env.env.B: is an integer, expected text",
            "config.toml:36:6: mcp.extra: is not a known field",
            "config.toml:38:11: approvals.timeout: is an integer, expected text",
            "config.toml:40:7: registry.git: is empty",
            "config.toml:2:1: colour: is not a known field",
        ]
    );
}

#[test]
fn list_prices_are_read_from_a_file_of_their_own() {
    let row = |long: i64| {
        format!(
            "\"m.1\" = {{ input = 3, output = 4, cache_write_5m = 5, cache_write_1h = 6, cache_read = 1, max_output = 7, \
             context = 8, long = {{ above = 9, input = {long}, output = 4, cache_write_5m = 5, cache_write_1h = 6, \
             cache_read = 1 }} }}\n"
        )
    };
    let mut found = Vec::new();
    let prices = read_prices(Path::new("prices.toml"), &row(30), &mut found);
    assert_eq!((prices["m.1"].context, prices["m.1"].long.unwrap().above, found.len()), (Some(8), 9, 0));
    assert_eq!(prices["m.1"].long.unwrap().input, NanoUsd::new(30).unwrap());
    assert_eq!(read_prices(Path::new("prices.toml"), &row(2), &mut found).len(), 0);
    let told = found[0].to_string();
    assert!(told.contains("\"m.1\".long: is cheaper than a short prompt"), "{told}");
}

#[test]
fn a_negotiated_rate_is_in_basis_points() {
    let config = good("[providers.anthropic]\nmultiplier = 8500\n");
    let of = |name: &str| config.providers[name].multiplier_bp;
    assert_eq!((of("anthropic"), of("openai")), (8500, 10_000));
    for (given, message) in [
        ("0", "`0` is not a multiplier (1 to 100000)"),
        ("100001", "`100001` is not a multiplier (1 to 100000)"),
        ("0.85", "is a number with decimals, expected an integer"),
    ] {
        let found = problems(&format!("[providers.anthropic]\nmultiplier = {given}\n"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(message), "{found:?}");
        assert!(found[0].starts_with("config.toml:2:14"), "{found:?}");
    }
}

#[test]
fn an_endpoint_says_whose_wire_it_speaks() {
    assert_eq!(
        problems(
            "[providers.a]\nbase_url = \"http://h\"\n[providers.b]\nbase_url = \"http://h\"\nwire = \"telegraph\"\n\
             [providers.openai]\nwire = \"openai\"\nreconcile = \"by fax\"\nmax_price = \"none\"\n"
        ),
        [
            "config.toml:1:1: providers.a.wire: is missing",
            "config.toml:5:8: providers.b.wire: `telegraph` is not a wire that can be metered (`anthropic`, `gemini`, `openai`)",
            "config.toml:8:13: providers.openai.reconcile: `by fax` is no manner of asking what a call was billed (`openrouter`)",
            "config.toml:9:13: providers.openai.max_price: `none` is no manner of telling the price that may not be exceeded (`openrouter`)",
            "config.toml:7:1: providers.openai.wire: is not a known field",
        ]
    );
}

#[test]
fn a_secret_that_was_written_into_the_file_is_never_repeated() {
    for text in [
        "[providers.anthropic]\nkey = \"sk-ant-secret\"\n",
        "[mcp.servers.a]\ncommand = [\"x\"]\nenv = { A = \"env:sk-ant-secret\" }\n",
    ] {
        let mut found = Vec::new();
        read(Path::new("config.toml"), text, &mut found);
        assert_eq!(found.len(), 1);
        assert!(!format!("{found:?}").contains("secret-is") && !format!("{found:?}").contains("sk-ant"));
        assert_eq!(
            found[0].hint.as_deref(),
            Some("write \"env:NAME\", or \"keyring:name\" and run `agentsup key set name`")
        );
    }
}

#[test]
fn rules_about_data_name_destinations_kinds_and_what_happens() {
    let config = good(
        "[mcp.servers.github]\nurl = \"https://h/mcp\"\n[data.mcp]\nemail = \"redact\"\n\
         [data.servers.github]\nsecrets = \"allow\"\n[data.shell]\nsecrets = \"block\"\n",
    );
    let said = |to, kind| config.data.treatment(to, kind).0;
    let (github, other) = (Destination::Server("github"), Destination::Server("other"));
    assert_eq!((said(other, Kind::Email), said(other, Kind::Jwt)), (Treatment::Redact, Treatment::Block));
    assert_eq!((said(github, Kind::Email), said(github, Kind::Jwt)), (Treatment::Redact, Treatment::Allow));
    assert_eq!(
        (said(Destination::Shell, Kind::Jwt), said(Destination::Web, Kind::Jwt)),
        (Treatment::Block, Treatment::Block)
    );
    assert_eq!(
        problems("[data.mcp]\nsecrets = \"drop\"\nmails = \"ask\"\n[data.servers.x]\n[data.disk]\n"),
        [
            "config.toml:2:11: data.mcp.secrets: `drop` is not one of allow, redact, ask, block",
            "config.toml:3:1: data.mcp.mails: is not a known field",
            "config.toml:4:1: data.servers.x: is no MCP server of this configuration",
            "config.toml:5:7: data.disk: is not a known field",
        ]
    );
}

#[test]
fn rules_about_prompts_and_results_have_defaults_to_live_with() {
    let config = good(
        "[mcp.servers.wiki]\nurl = \"https://h/mcp\"\n[data.servers.wiki]\nresults = \"internal\"\n\
         [data.mcp]\nresults = [\"untrusted\", \"confidential\"]\n[data.files]\nresults = \"public\"\n\
         [data.model]\nprivate-key = \"block\"\n[data.providers.openai]\nsecrets = \"redact\"\n",
    );
    let results = |rules: &DataRules, from| rules.results(from).to_string();
    let (wiki, other) = (Destination::Server("wiki"), Destination::Server("other"));
    let data = &config.data;
    let of_servers = [results(data, wiki), results(data, other), data.file_results.to_string()];
    assert_eq!(of_servers, ["internal", "untrusted, internal, confidential", ""]);
    let untouched = DataRules::default();
    let from = [wiki, Destination::Web, Destination::Shell].map(|from| results(&untouched, from));
    assert_eq!(from, ["untrusted"; 3]);
    let said = |provider, kind| data.treatment(Destination::Model(provider), kind);
    let (block, redact, allow) = (Treatment::Block, Treatment::Redact, Treatment::Allow);
    assert_eq!(said("anthropic", Kind::PrivateKey), (block, "data.model.private-key".into()));
    assert_eq!(said("anthropic", Kind::Jwt), (allow, "data.model.secrets".into()));
    assert_eq!(said("openai", Kind::PrivateKey), (redact, "data.providers.openai.secrets".into()));
    assert!(!untouched.looks_at(Destination::Model("anthropic")));
    assert_eq!(
        problems(
            "[data.model]\nresults = \"public\"\n[data.providers.x]\n[data.web]\nresults = \"nice\"\n[data.files]\njwt = \"ask\"\n"
        ),
        [
            "config.toml:5:11: data.web.results: `nice` is not one of public, internal, confidential, secret, untrusted",
            "config.toml:7:1: data.files.jwt: is not a known field",
            "config.toml:2:1: data.model.results: is not a known field",
            "config.toml:3:1: data.providers.x: is no provider of this configuration",
        ]
    );
}

#[test]
fn broken_syntax_is_told_with_its_place() {
    assert_eq!(
        problems("[providers\nx = 1\n[a]\n[a]\n").first().unwrap(),
        "config.toml:1:11: not valid TOML: unclosed table, expected `]`"
    );
}

#[test]
fn a_pack_is_chosen_by_its_name() {
    let mut found = Vec::new();
    let config = read(Path::new("config.toml"), "[policy]\npack = \"strict\"\n", &mut found);
    assert_eq!((config.policy_pack, found.len()), (Pack::Strict, 0));
    read(Path::new("config.toml"), "[policy]\npack = \"lax\"\n", &mut found);
    let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["config.toml:2:8: policy.pack: `lax` is not one of observe, standard, strict"]);
}

#[test]
fn a_registry_is_read_strictly() {
    let text = "[registry]\ngit = \"git@h:a/b\"\nbranch = \"live\"\npath = \"./agents\"\nevery = \"30s\"\nlocal = \"personal\"\n";
    let expected = Source {
        git: "git@h:a/b".into(),
        branch: "live".into(),
        path: "agents".into(),
        every_ms: 30_000,
        local: Local::Personal,
    };
    assert_eq!(good(text).registry, Some(expected));
    for (text, message) in [
        ("", "registry.git: is missing"),
        ("git = \"ext::sh\"", "registry.git: `ext::sh` is not the address"),
        ("git = \"/r\"\nbranch = \"-f\"", "registry.branch: `-f` is not the name"),
        ("git = \"/r\"\npath = \"../x\"", "registry.path: `../x` is not a directory below"),
        ("git = \"/r\"\nevery = \"29s\"", "registry.every: `29s` is more often"),
        ("git = \"/r\"\nlocal = \"all\"", "registry.local: `all` is not one of policies, personal"),
        ("git = \"/r\"\ntoken = \"x\"", "registry.token: is not a known field"),
    ] {
        let found = problems(&format!("[registry]\n{text}\n"));
        assert!(found.len() == 1 && found[0].contains(message), "{text}: {found:?}");
    }
}
