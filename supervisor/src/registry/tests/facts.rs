//! For how long what decisions were about is kept: what the files say, and nothing by itself.

use super::*;
use crate::registry::live::Registry;

const YEAR: &str = "[audit]\nfacts = \"365d\"\n";

#[test]
fn nothing_is_erased_before_the_configuration_was_read_and_then_by_what_it_said_last() {
    let fixture = Fixture::new(&[("config.toml", &format!("{YEAR}nonsense = 1\n"))]);
    let registry = Registry::start(&fixture.home).unwrap();
    let year = Some(365 * 24 * 3_600_000);
    assert_eq!(registry.current().facts_kept_ms(), None, "nothing was ever good");
    fixture.write("config.toml", YEAR);
    assert_eq!(registry.reload().facts_kept_ms(), year);
    fixture.write("manifests/a.yaml", "kind: Agent\n");
    let broken = registry.reload();
    assert!(!broken.problems.is_empty());
    assert_eq!(broken.facts_kept_ms(), year, "another file has no say in it");
    assert_eq!(Registry::start(&fixture.home).unwrap().current().facts_kept_ms(), None);
    fs::remove_file(fixture.dir.path().join("manifests/a.yaml")).unwrap();
    fixture.write("config.toml", "[audit]\nfacts = \"1d\"\nnonsense = 1\n");
    assert_eq!(registry.reload().facts_kept_ms(), year);
    fixture.write("config.toml", "[audit]\nfacts = \"off\"\n");
    assert_eq!(registry.reload().facts_kept_ms(), Some(0));
}
