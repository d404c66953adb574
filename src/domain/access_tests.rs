//! Tests of scopes, keys and principals. Reads access.rs.

use super::*;

fn grant(customer: Option<&str>, vehicle: Option<&str>, scopes: &[Scope]) -> Grant {
    let (customer, vehicle) = (customer.map(Arc::from), vehicle.map(Arc::from));
    Grant { name: "gate 7".into(), customer, vehicle, scopes: Scopes::of(scopes), expires_at: None }
}

#[test]
fn admin_holds_every_scope_and_the_others_only_themselves() {
    for scope in Scope::ALL {
        assert!(Scopes::of(&[Scope::Admin]).has(scope));
        assert_eq!(Scope::from_word(scope.word()), Some(scope));
        let own = Scopes::of(&[scope]);
        assert_eq!(Scope::ALL.iter().filter(|other| own.has(**other)).count() > 1, scope == Scope::Admin);
    }
    assert_eq!(Scopes::parse("ingest, read").map(Scopes::words), Ok("read,ingest".into()));
    assert!(Scopes::parse("read,write").is_err_and(|problem| problem.contains("'write'")));
    assert!(Scopes::parse(",").is_err());
}

#[test]
fn roles_grow_in_power() {
    let may = |role: Role| Scope::ALL.iter().filter(|scope| role.scopes().has(**scope)).count();
    assert_eq!(Role::ALL.map(may), [1, 2, 4]);
    assert_eq!(Role::ALL.map(|role| Role::from_word(role.word())), Role::ALL.map(Some));
}

#[test]
fn a_key_is_read_as_it_is_written_and_never_shown() {
    let key = FullKey { id: KeyId::new(0xfeed), secret: [0xa5; 32] };
    let text = key.expose();
    assert_eq!(text.len(), "rk_".len() + 16 + 1 + 64);
    assert_eq!(FullKey::parse(&text).as_ref(), Some(&key));
    let shown = format!("{key:?} {:?}", Some(&key));
    assert!(shown.contains("000000000000feed") && !shown.contains("a5a5") && !shown.contains("165"), "{shown}");
    let upper = text.to_uppercase();
    for bad in ["", "rk_", "rk__", &text[3..], &text[..text.len() - 1], &format!("{text}0"), &upper, "rk_é_é"] {
        assert_eq!(FullKey::parse(bad), None, "{bad}");
    }
}

#[test]
fn a_key_that_makes_no_sense_is_refused_by_the_field_that_is_wrong() {
    let field = |grant: Grant| grant.check(1_000).err().map(|(field, _)| field);
    assert_eq!(field(grant(Some("acme"), None, &[Scope::Read, Scope::Ingest])), None);
    assert_eq!(field(grant(None, None, &[Scope::Admin])), None);
    assert_eq!(field(grant(Some("acme"), Some("TRK 1"), &[Scope::Ingest])), None);
    assert_eq!(field(grant(Some("acme"), Some("TRK 1"), &[Scope::Ingest, Scope::Read])), Some("scopes"));
    assert_eq!(field(grant(None, Some("TRK 1"), &[Scope::Ingest])), Some("vehicle"));
    assert_eq!(field(grant(Some("acme"), Some("a/b"), &[Scope::Ingest])), Some("vehicle"));
    assert_eq!(field(grant(Some("a b"), None, &[Scope::Read])), Some("customer"));
    assert_eq!(field(grant(Some("acme"), None, &[Scope::Admin])), Some("scopes"));
    assert_eq!(field(grant(Some("acme"), None, &[])), Some("scopes"));
    for name in ["", "a\nb", &"x".repeat(101)] {
        assert_eq!(field(Grant { name: name.into(), ..grant(None, None, &[Scope::Read]) }), Some("name"));
    }
    let until = |at| Grant { expires_at: Some(at), ..grant(None, None, &[Scope::Read]) };
    assert_eq!((field(until(1_000)), field(until(1_001))), (Some("expires_at"), None));
}

#[test]
fn a_principal_reaches_its_own_customer_and_vehicle_only() {
    let of = |grant: &Grant| Principal::of_key(KeyId::new(1), grant);
    let tenant = of(&grant(Some("acme"), None, &[Scope::Read, Scope::Ingest]));
    assert!(tenant.sees("acme") && !tenant.sees("birch"));
    assert!(tenant.may(Scope::Read, "acme") && !tenant.may(Scope::Read, "birch") && !tenant.may(Scope::Manage, "acme"));
    assert!(tenant.may_send("acme", "any") && !tenant.may_send("birch", "any"));
    let vehicle = of(&grant(Some("acme"), Some("TRK 1"), &[Scope::Ingest]));
    assert!(vehicle.may_send("acme", "TRK 1") && !vehicle.may_send("acme", "TRK 2"));
    assert!(!vehicle.may_send("birch", "TRK 1") && !vehicle.may(Scope::Read, "acme"));
    let gateway = of(&grant(None, None, &[Scope::Ingest]));
    assert!(gateway.may_send("birch", "any") && !gateway.may(Scope::Read, "birch"));
    assert!(Principal::anybody().may(Scope::Admin, "acme"));
}
