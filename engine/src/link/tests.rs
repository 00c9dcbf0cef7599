use super::*;

#[test]
fn events_survive_json() {
    let step = Step {
        step: 3,
        loss: f64::NAN,
        lr: 1e-3,
        grad_norm: f64::INFINITY,
        ..Step::default()
    };
    let event = Event {
        body: Body::Step(step),
        time: "2026-01-01T00:00:00Z".to_owned(),
    };
    let line = serde_json::to_string(&event).unwrap();
    assert!(
        line.starts_with("{\"event\":\"step\",\"step\":3,"),
        "{line}"
    );
    assert!(
        line.contains("\"loss\":\"NaN\"") && line.contains("\"grad_norm\":\"inf\""),
        "{line}"
    );
    let back: Event = serde_json::from_str(&line).unwrap();
    let Body::Step(back) = back.body else {
        panic!("another event: {line}")
    };
    assert!(back.loss.is_nan() && back.grad_norm == f64::INFINITY && back.lr == 1e-3);
    let layers = Layers {
        activation_rms: vec![1.0, f64::NEG_INFINITY],
        ..Layers::default()
    };
    let event = Event {
        body: Body::Layers(layers.clone()),
        time: String::new(),
    };
    let back: Event = serde_json::from_str(&serde_json::to_string(&event).unwrap()).unwrap();
    assert_eq!(back.body, Body::Layers(layers));
}

#[test]
fn a_scale_that_is_not_finite_is_not_taken_for_none() {
    for (lr_scale, said) in [
        (None, "null"),
        (Some(0.5), "0.5"),
        (Some(f64::INFINITY), "\"inf\""),
        (Some(f64::NAN), "\"NaN\""),
    ] {
        let step = Some(5);
        let command = Command::Rollback { step, lr_scale };
        let line = serde_json::to_string(&command).unwrap();
        let back: Command = serde_json::from_str(&line).unwrap();
        assert!(line.ends_with(&format!("\"lr_scale\":{said}}}")), "{line}");
        assert_eq!(format!("{back:?}"), format!("{command:?}"));
    }
    let read = |line| serde_json::from_str::<Command>(line);
    let step = None;
    let lr_scale = None;
    assert_eq!(
        read("{\"command\":\"rollback\"}").unwrap(),
        Command::Rollback { step, lr_scale }
    );
    assert!(read("{\"command\":\"rollback\",\"lr_scale\":\"much\"}").is_err());
}

#[test]
fn a_slow_reader_loses_nothing_and_a_gone_one_stops_nothing() {
    let (mut engine, client) = link();
    for step in 0..3000 {
        engine.emit(Event {
            body: Body::ResumedFromPause { step },
            time: String::new(),
        });
    }
    let reader = std::thread::spawn(move || client.events.iter().count());
    engine.flush();
    drop(engine);
    assert_eq!(reader.join().unwrap(), 3000);
    let (mut engine, client) = link();
    drop(client);
    engine.emit(Event {
        body: Body::ResumedFromPause { step: 1 },
        time: String::new(),
    });
}
