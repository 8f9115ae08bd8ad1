//! Secrets and personal data in what is sent to servers.

use super::world::{World, python, text};

/// In one piece it would look like somebody's.
fn token() -> String {
    format!("{}_{}", "npm", "q7Xv2LmZ0pRtYw9KbN4sDcJ6hGf1Ae8UoTi3")
}

#[tokio::test]
async fn a_secret_reaches_no_server_and_no_record() {
    let world = World::new(|dir| python("a", dir, "x")).await;
    let arguments = format!(r#"{{"body":"deploy with {}"}}"#, token());
    let denied = text(&world.call("a_echo", &arguments).await).to_owned();
    assert!(
        denied.contains("it holds 1 × npm-token, which `data.mcp.secrets` keeps from the MCP server `a`"),
        "{denied}"
    );
    let hidden = format!(r#"{{"body":"{}"}}"#, hex::encode(token()));
    assert!(text(&world.call("a_echo", &hidden).await).contains("npm-token"));
    // What is passed on beside the arguments is looked at as well.
    let beside = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"a_echo","arguments":{{}},"_meta":{{"x":"{}"}}}}}}"#,
        token()
    );
    assert!(text(&world.ask(&beside).await).contains("npm-token"));
    let sentences = world.sentences().await.join("\n");
    assert_eq!(sentences.matches("npm-token").count(), 3, "{sentences}");
    assert!(!sentences.contains(&token()) && !denied.contains(&token()));
    let passed = world.call("a_echo", r#"{"body":"bob@acme.io"}"#).await;
    assert!(text(&passed).contains(r#"{"body":"bob@acme.io"}"#), "{passed}");
}

#[tokio::test]
async fn what_is_redacted_is_all_that_changes_on_the_way() {
    let rules = "[data.mcp]\nemail = \"redact\"\n[data.servers.a]\nsecrets = \"allow\"\n";
    let world = World::new(|dir| python("a", dir, "x") + rules).await;
    let arguments = format!(r#"{{ "to" : "bob@acme.io\n" , "n":1.50,"key":"{}"}}"#, token());
    let passed = world.call("a_echo", &arguments).await;
    let expected = format!(r#"{{ "to" : "[redacted: email]\n" , "n":1.50,"key":"{}"}}"#, token());
    assert!(text(&passed).contains(&expected), "{passed}");
    let key = text(&world.call("a_echo", r#"{"bob@acme.io":1}"#).await).to_owned();
    assert!(key.contains("which `data.mcp.email` has redacted"), "{key}");
}

/// What is large is looked through on other threads, and to its end.
#[tokio::test]
async fn a_secret_at_the_end_of_a_large_message_is_found() {
    let world = World::new(|dir| python("a", dir, "x")).await;
    let filler = "some words of text ".repeat(20_000);
    let denied = world.call("a_echo", &format!(r#"{{"body":"{filler}{}"}}"#, token())).await;
    assert!(text(&denied).contains("npm-token"), "{:.200}", text(&denied));
    let passed = world.call("a_echo", &format!(r#"{{"body":"{filler}"}}"#)).await;
    assert!(text(&passed).contains("some words"), "{:.200}", text(&passed));
}

#[tokio::test]
async fn what_comes_back_is_labelled_by_its_server_and_by_what_is_in_it() {
    let config = "[data.servers.a]\nresults = \"public\"\nsecrets = \"allow\"\n";
    let world = World::new(|dir| python("a", dir, "x") + &python("b", dir, "x") + config).await;
    let labels = || world.live.labels().to_string();
    world.call("a_echo", r#"{"body":"nothing"}"#).await;
    assert_eq!(labels(), "");
    world.call("a_echo", r#"{"body":"bob@acme.io"}"#).await;
    assert_eq!(labels(), "internal, confidential");
    world.call("b_echo", "{}").await;
    assert_eq!(labels(), "untrusted, internal, confidential");
    world.call("b_echo", "{}").await;
    // Large, and encoded.
    let filler = "some words of text ".repeat(4_000);
    world.call("a_echo", &format!(r#"{{"body":"{filler}{}"}}"#, hex::encode(token()))).await;
    assert_eq!(labels(), "untrusted, internal, confidential, secret");
    let told = [
        "internal, confidential by what was found in a result in dev at TIME.",
        "untrusted by calling `b/echo` in dev at TIME.",
        "secret by what was found in a result in dev at TIME.",
    ];
    assert_eq!(world.labelled().await, told);
}
