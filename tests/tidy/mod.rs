//! Reads the sources and holds the rules of the house that no compiler knows.
//!
//! The rules are data: who may import whom (`imports`), what may stand in one place only (`places`), what a file
//! must look like (`shape`). Each rule has a test here over the whole repository, and one beside its table that
//! shows it catching a violation. Must not: build or run the product.

mod blank;
mod imports;
mod paths;
mod places;
mod shape;
mod source;

use source::Source;

#[track_caller]
fn assert_tidy(violations: &[String]) {
    assert!(violations.is_empty(), "{} places to mend:\n{}", violations.len(), violations.join("\n"));
}

#[test]
fn rooms_import_only_what_is_below_them() {
    assert_tidy(&imports::violations(&Source::rust()));
}

#[test]
fn each_thing_is_done_in_its_place() {
    assert_tidy(&places::violations(&Source::rust()));
}

#[test]
fn the_environment_is_read_in_one_place() {
    assert_tidy(&places::environment_read_elsewhere(&Source::rust()));
}

#[test]
fn permits_are_made_at_the_gate() {
    assert_tidy(&places::permits_made_elsewhere(&Source::rust()));
}

#[test]
fn only_one_file_of_the_page_knows_its_host() {
    assert_tidy(&places::hosts_known_elsewhere(&Source::page()));
}

#[test]
fn files_are_short() {
    let all = [Source::rust(), Source::page()].concat();
    assert_tidy(&shape::long_files(&all));
}

#[test]
fn modules_say_what_they_own() {
    assert_tidy(&shape::undocumented_modules(&Source::rust()));
}

#[test]
fn names_avoid_empty_words() {
    assert_tidy(&shape::empty_words(&Source::rust()));
}

#[test]
fn silenced_lints_give_a_reason() {
    assert_tidy(&shape::silenced_without_reason(&Source::rust()));
}

#[test]
fn registries_list_their_directories() {
    assert_tidy(&shape::unlisted_files(&Source::rust()));
}
