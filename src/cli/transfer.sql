-- What joins a domain to what would stay behind in its namespace (SPEC D1): links and delegations that lead out of it, and roles.
SELECT b.blocker
FROM (
    SELECT 1 AS sort, 'link ' || a.canonical || ' -> ' || p.canonical AS blocker
    FROM mailroster.link l
    JOIN mailroster.address a ON a.id = l.alias_id
    JOIN mailroster.address p ON p.id = l.primary_id
    WHERE a.domain_id <> p.domain_id AND $1 IN (a.domain_id, p.domain_id)
    UNION ALL
    SELECT 2, 'delegation: ' || r.canonical || ' reads ' || m.canonical
    FROM mailroster.delegation g
    JOIN mailroster.address r ON r.id = g.reader_id
    JOIN mailroster.address m ON m.id = g.mailbox_id
    WHERE r.domain_id <> m.domain_id AND $1 IN (r.domain_id, m.domain_id)
    UNION ALL
    SELECT 3, 'role ' || o.name || ' has ' || a.canonical
    FROM mailroster.role_member m
    JOIN mailroster.role o ON o.id = m.role_id
    JOIN mailroster.address a ON a.id = m.address_id
    WHERE a.domain_id = $1
) b
ORDER BY b.sort, b.blocker COLLATE "C"
