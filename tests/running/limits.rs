//! Memory limits and what is recorded of memory, through the daemon.

use crate::support::Place;

#[test]
fn a_task_beyond_its_limit_fails_under_that_name_and_others_go_on() {
    let place = Place::new();
    let daemon = place.daemon();
    place.save(
        "greedy.yaml",
        "tasks:\n  \
         greedy:\n    limits: {memory: 40MiB}\n    command: 'head -c 80M /dev/zero | tail -c 80M | (sleep 600; cat)'\n    \
         retry: {retries: 2, when: transient}\n  \
         modest: {limits: {memory: 200MiB}, command: [sleep, '4']}\n",
    );
    place.wait_synced("greedy");
    let done = place.run(&["trigger", "greedy", "--wait"]);
    assert_eq!(done.code, 1, "{done:?}");
    let run = place.runs("greedy")[0]["id"].as_str().expect("an id").to_owned();
    let view = place.json(&["show", &run]);
    let tasks = view["tasks"].as_array().expect("a list");
    let of = |task: &str| tasks.iter().find(|found| found["id"] == task).expect("it is there");
    let attempts = of("greedy")["attempts"].as_array().expect("a list");
    assert_eq!(attempts.len(), 1, "trying again would not help");
    let greedy = &attempts[0];
    assert_eq!(greedy["ending"], "over_memory", "{greedy}");
    let error = greedy["error"].as_str().expect("in words");
    assert!(error.contains("more than `limits.memory` allows (40MiB)"), "{error}");
    assert!(greedy["max_rss_bytes"].as_u64() > Some(40 << 20), "{greedy}");
    let modest = &of("modest")["attempts"][0];
    assert_eq!(modest["exit_code"], 0);
    // On a busy machine looks are dear and so become rare; four seconds see one all the same.
    let peak = modest["max_rss_bytes"].as_u64().expect("it was weighed");
    assert!((100_000..20 << 20).contains(&peak), "{peak}");
    let told = place.run(&["show", "greedy"]);
    assert!(told.stdout.contains("at most 40MiB of memory"), "{told:?}");
    assert_eq!(daemon.stop(), 0);
}
