//! Visor is killed before every order of every scenario (and so after every record), in several ways, and always reaches the same
//! end. What may never happen on the way is asserted by the host itself (`world/rules.rs`).

use visor_planner::{Effects, Planner};

use crate::scenarios::scenarios;
use crate::world::{Named, Script, World, new, old, settle};

/// What becomes of the host while no visor runs.
#[derive(Debug, Clone, Copy)]
enum Kill {
    /// Nothing: visor is started again at once.
    Visor,
    /// It is, but cannot tell which version the node runs.
    Blind,
    /// The node dies too.
    Both,
    /// It takes long, and the node goes on, over H as well.
    Long,
}

/// What is looked at on the way of a host that nobody disturbs.
trait Watch {
    fn before_order(&mut self, _world: &World, _point: usize) {}
    fn after_batch(&mut self, _world: &World, _planner: &Planner, _point: usize) {}
}

/// Goes on until everything is at rest.
fn walk(name: &str, world: &mut World, planner: &mut Planner, first: Effects, watch: &mut impl Watch) {
    let mut effects = first;
    let mut point = 0;
    for _ in 0..3_000 {
        for effect in &effects.0 {
            watch.before_order(world, point);
            world.carry_out(effect);
            point += 1;
        }
        watch.after_batch(world, planner, point);
        if world.is_at_rest(planner) {
            return;
        }
        let Some(input) = world.next(planner) else {
            panic!(
                "{name}: nothing more happens, visor has ended: {:?}, {:?}",
                world.ended,
                planner.status()
            );
        };
        effects = planner.step(world.now(), input);
    }
    panic!("{name}: the host does not come to rest: {:?}", planner.status());
}

/// Kills visor and starts it again.
fn again(world: &World, kill: Kill) -> (World, Planner, Effects) {
    let mut world = world.clone();
    let tells = match kill {
        Kill::Visor => true,
        Kill::Blind => false,
        Kill::Both => {
            world.kill_node();
            true
        }
        Kill::Long => {
            world.without_visor();
            true
        }
    };
    let (planner, effects) = world.recover_seeing(tells);
    (world, planner, effects)
}

fn reaches_its_end(name: &str, place: &str, world: &World, kill: Kill) {
    let (mut world, mut planner, effects) = again(world, kill);
    settle(&mut world, &mut planner, effects);
    assert!(
        world.is_at_rest(&planner),
        "{name}, {kill:?} killed before order {place}: {:?}, ended: {:?}, {:?}",
        planner.status(),
        world.ended,
        world.records,
    );
}

struct Once<'a> {
    name: &'a str,
    kill: Kill,
    points: usize,
}

impl Watch for Once<'_> {
    fn before_order(&mut self, world: &World, point: usize) {
        self.points += 1;
        reaches_its_end(self.name, &point.to_string(), world, self.kill);
    }
}

fn killed_once(kill: Kill) {
    for (name, script) in scenarios() {
        let _named = Named(name);
        let mut world = World::new(script);
        let (mut planner, effects) = world.recover();
        let mut watch = Once {
            name,
            kill,
            points: 0,
        };
        walk(name, &mut world, &mut planner, effects, &mut watch);
        assert!(watch.points > 8, "{name} has orders to be killed before");
    }
}

#[test]
fn vis_01_visor_killed_before_any_order_reaches_the_same_end() {
    killed_once(Kill::Visor);
}

#[test]
fn vis_01_visor_killed_before_any_order_that_knows_no_version_of_the_node_reaches_the_same_end() {
    killed_once(Kill::Blind);
}

#[test]
fn vis_01_visor_killed_before_any_order_with_its_node_reaches_the_same_end() {
    killed_once(Kill::Both);
}

#[test]
fn vis_01_visor_killed_before_any_order_and_long_gone_reaches_the_same_end() {
    killed_once(Kill::Long);
}

/// Every so many orders the first kill, every so many the second: both are prime, so that in time every pair of places is near one.
const STRIDES: (usize, usize) = (5, 7);

struct Twice<'a> {
    name: &'a str,
    first: Option<(usize, Kill)>,
}

impl Watch for Twice<'_> {
    fn before_order(&mut self, world: &World, point: usize) {
        let Some((first, kill)) = self.first else {
            if point.is_multiple_of(STRIDES.0) {
                for kill in [Kill::Visor, Kill::Both] {
                    let (mut world, mut planner, effects) = again(world, kill);
                    let mut inner = Twice {
                        name: self.name,
                        first: Some((point, kill)),
                    };
                    walk(self.name, &mut world, &mut planner, effects, &mut inner);
                }
            }
            return;
        };
        if (point + first).is_multiple_of(STRIDES.1) {
            let other = match kill {
                Kill::Visor | Kill::Blind => Kill::Both,
                Kill::Both | Kill::Long => Kill::Visor,
            };
            let place = format!("{first} ({kill:?}), then before {point}");
            reaches_its_end(self.name, &place, world, other);
        }
    }
}

#[test]
fn vis_01_visor_killed_twice_reaches_the_same_end() {
    for (name, script) in scenarios() {
        let _named = Named(name);
        let mut world = World::new(script);
        let (mut planner, effects) = world.recover();
        let mut watch = Twice { name, first: None };
        walk(name, &mut world, &mut planner, effects, &mut watch);
    }
}

struct Terminated<'a> {
    name: &'a str,
}

impl Watch for Terminated<'_> {
    fn after_batch(&mut self, world: &World, planner: &Planner, point: usize) {
        let (mut world, mut planner) = (world.clone(), planner.clone());
        if world.ended.is_some() {
            return;
        }
        let mut input = Some(world.request_stop());
        while let Some(fact) = input {
            for effect in planner.step(world.now(), fact).0 {
                world.carry_out(&effect);
            }
            input = world.next(&planner);
        }
        assert!(
            world.ended.is_some(),
            "{}: visor does not end after order {point}",
            self.name
        );
        assert!(world.node_version().is_none());
        reaches_its_end(self.name, &format!("{point}, told to stop"), &world, Kill::Visor);
    }
}

#[test]
fn vis_08_visor_told_to_stop_at_any_time_stops_its_node_and_the_next_one_reaches_the_same_end() {
    for (name, script) in scenarios() {
        let _named = Named(name);
        let mut world = World::new(script);
        let (mut planner, effects) = world.recover();
        walk(name, &mut world, &mut planner, effects, &mut Terminated { name });
    }
}

#[test]
fn without_a_kill_the_node_is_started_once_per_version() {
    let mut world = World::new(Script::default());
    let (mut planner, effects) = world.recover();
    settle(&mut world, &mut planner, effects);
    assert_eq!(world.started, [old(), new()]);
}
