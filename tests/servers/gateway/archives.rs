//! Who reads archives and who administers: `archive_reader_v1`, `administrator_v1` (SPEC M3, R4).

use super::{acme, rows};

/// M3, R4.
#[tokio::test]
async fn archives_are_read_by_owners_and_delegates_and_administrators_are_listed() {
    let database = acme().await;
    let archive = database.as_role("mailroster_archive");
    database
        .execute(
            "SELECT test.address('info@acme.example'); UPDATE mailroster.address SET archive_start = '2026-01-01' WHERE canonical = 'info@acme.example';
             INSERT INTO mailroster.delegation (reader_id, mailbox_id, namespace)
             SELECT r.id, m.id, 'acme' FROM mailroster.address r, mailroster.address m WHERE r.canonical = 'sales@acme.example' AND m.canonical = 'info@acme.example';
             INSERT INTO mailroster.role (namespace, name, owned, permissions) VALUES ('acme', 'readers', true, '{addresses.read,content.read}');
             INSERT INTO mailroster.role_member (address_id, role_id, namespace)
             SELECT a.id, r.id, 'acme' FROM mailroster.address a, mailroster.role r WHERE a.canonical = 'sales@acme.example';",
        )
        .await;
    let read = "SELECT mailbox, extract(epoch FROM visible_from)::bigint, includes_private, includes_confidential
        FROM gateway.archive_reader_v1 WHERE reader = 'sales@acme.example'";
    let own = ["(sales.e@acme.example,,t,t)", "(sales@acme.example,,t,t)"];
    assert_eq!(rows(&archive, read).await, ["(info@acme.example,1767225600,f,t)", own[0], own[1]]);
    database
        .execute("INSERT INTO mailroster.settings VALUES ('acme', 'default', 12, true, true, true, false, 0, 5, 5, 900, 10, 3600, true, 10, 10, true)")
        .await;
    assert_eq!(rows(&archive, read).await, ["(info@acme.example,1767225600,f,f)", own[0], own[1]]);
    assert_eq!(
        rows(&archive, "SELECT * FROM gateway.administrator_v1").await,
        ["(sales@acme.example,acme,addresses.read)", "(sales@acme.example,acme,content.read)"]
    );
    database.execute("DELETE FROM mailroster.delegation; DELETE FROM mailroster.role_member;").await;
    assert_eq!(rows(&archive, read).await, own);
    assert_eq!(rows(&archive, "SELECT * FROM gateway.administrator_v1").await, [""; 0]);
}
