//! Documents of the Agent Governance Toolkit that become policies in force.

use super::daemon::registered;

const DOCUMENT: &str = "\
apiVersion: governance.toolkit/v1
name: house
agents: ['*']
default_action: allow
rules:
  - name: no-shell
    description: shells are for people
    condition: tool_name == 'Bash' and environment == 'dev'
    action: deny
";

#[test]
fn a_document_is_imported_whole_or_not_at_all() {
    let home = registered();
    let document = home.path("house.yaml");
    let out = home.agentsup().join("manifests/house.cedar");
    let import = ["policy", "import", document.to_str().unwrap(), "--out", out.to_str().unwrap()];

    std::fs::write(&document, DOCUMENT.replace("environment ==", "not environment ==")).unwrap();
    let refused = home.run(&import);
    refused.exits(96);
    assert!(refused.stdout.contains("house.yaml:8:16: rules[0].condition: `not environment"), "{refused}");
    assert!(
        refused.stdout.contains("hint: write `!=`") || refused.stderr.contains("hint: write `!=`"),
        "{refused}"
    );
    assert!(!out.exists());

    std::fs::write(&document, DOCUMENT).unwrap();
    home.run(&import).ok();
    home.run(&["policy", "check"]).ok();
    let listed = home.run(&["policy", "list", "--json"]).ok().json();
    let listed = listed.as_array().unwrap();
    assert!(listed.iter().any(|policy| policy["source"] == "org/house-no-shell"), "{listed:?}");
    let again = home.run(&import);
    again.exits(2);
    assert!(again.stderr.contains("name a file that is not there yet"), "{again}");

    let shown = home.run(&["policy", "import", document.to_str().unwrap()]).ok().stdout.clone();
    assert_eq!(shown, std::fs::read_to_string(&out).unwrap());
    home.run(&["policy", "import", "nowhere.yaml"]).exits(2);
}
