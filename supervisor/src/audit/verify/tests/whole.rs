//! A log that nobody put his hand to.

use super::*;

#[tokio::test]
async fn a_whole_log_is_whole() {
    let summary = after("").await.unwrap();
    assert_eq!((summary.records, summary.reservations), (6, 3));
}

/// Records and ledger are read one after the other, of one and the same state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_written_to_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let who = who();
    let writing = tokio::spawn({
        let store = store.clone();
        async move {
            for _ in 0..400 {
                let who = who.clone();
                store.write(move |tx| call(tx, &who, Some(0))).await.unwrap();
            }
        }
    });
    while !writing.is_finished() {
        store.read(verify).await.unwrap().unwrap();
    }
    writing.await.unwrap();
    assert_eq!(store.read(verify).await.unwrap().unwrap().records, 806);
}
