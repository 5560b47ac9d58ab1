from __future__ import annotations

from dataclasses import replace

from exporter.alerts.alert import AlertState, Reason, Transition
from exporter.history.episodes import Episode, Episodes, episodes_within, firing_at
from tests.support.builders import alert, at
from tests.support.stored import pending, resolved


def moved(changed) -> Transition:
    when = changed.resolved_at or changed.firing_since
    return Transition(changed, when, None, None, None)


def test_an_alert_that_fires_and_resolves_is_one_episode():
    fired = alert(seconds=10)
    episodes = Episodes(at(0))

    episodes.add([moved(fired)])
    episodes.add([moved(resolved(fired, 40))])

    (only,) = episodes.all()
    assert (only.began_at, only.resolved_at, only.reason) == (at(10), at(40), Reason.RECOVERED)
    assert only.seconds(at(999)) == 30


def test_an_alert_that_still_fires_lasts_until_the_end():
    episodes = Episodes(at(0))

    episodes.add([moved(alert(seconds=10))])

    (only,) = episodes.all()
    assert only.resolved_at is None
    assert only.seconds(at(100)) == 90


def test_what_was_over_before_is_not_kept():
    early = alert(seconds=-60)
    episodes = Episodes(at(0))

    episodes.resume([early])
    episodes.add([moved(resolved(early, -1))])

    assert episodes.all() == ()


def test_what_began_before_and_ends_within_is_kept_with_its_beginning():
    early = alert(seconds=-60)
    episodes = Episodes(at(0))

    episodes.resume([early])
    episodes.add([moved(resolved(early, 0))])

    assert [e.began_at for e in episodes.all()] == [at(-60)]


def test_an_alert_that_never_fired_is_no_episode():
    assert Episode.from_alert(pending(alert())) is None


def test_alerts_that_fired_at_a_time_are_as_they_were_then():
    before, open_then, later = alert(seconds=0), alert("B", seconds=0), alert("C", seconds=20)
    alerts = [resolved(before, 5), resolved(open_then, 30), later, pending(alert("D"))]

    episodes = list(firing_at(alerts, at(10)))

    assert [(a.name, a.state, a.resolved_at, a.reason) for a in episodes] == [("B", AlertState.FIRING, None, None)]


def test_an_alert_that_resolves_at_the_very_time_still_fired():
    assert [a.name for a in firing_at([resolved(alert(), 10)], at(10))] == ["TokensLow"]


def test_raised_are_those_of_the_period_and_what_ends_after_it_is_open():
    alerts = [
        resolved(alert("Over", seconds=-60), -1),
        resolved(alert("Into", seconds=-60), 10),
        resolved(alert("Within", seconds=10), 20),
        resolved(alert("Out", seconds=30), 90),
        replace(alert("Later", seconds=60)),
    ]

    episodes = episodes_within(alerts, at(0), at(60))

    assert [(e.name, e.resolved_at) for e in episodes] == [("Into", at(10)), ("Within", at(20)), ("Out", None)]
