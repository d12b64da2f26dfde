-- sqlite3 :memory: create, fill, index, join, aggregate, update, delete.
PRAGMA temp_store = memory;
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, town INTEGER, born INTEGER);
CREATE TABLE town (id INTEGER PRIMARY KEY, name TEXT, size REAL);
CREATE TABLE sale (id INTEGER PRIMARY KEY, person INTEGER, cents INTEGER, note TEXT);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
INSERT INTO town SELECT i, printf('town %05d', (i * 7919) % 500), (i * 37 % 101) / 3.0 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO person
SELECT i, printf('%x-%d', (i * 2654435761) % 4294967296, i), i * 31 % 500 + 1, 1930 + i * 17 % 90 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
INSERT INTO sale
SELECT i, (i * 48271) % 20000 + 1, (i * 69621) % 100003, 'note ' || (i * 16807 % 9973) FROM n;
COMMIT;
CREATE INDEX sale_person ON sale (person);
CREATE INDEX person_name ON person (name);
SELECT count(*), sum(cents) FROM sale WHERE note LIKE '%77%';
SELECT town.name, count(*), sum(cents) AS total
FROM sale JOIN person ON person.id = sale.person JOIN town ON town.id = person.town
GROUP BY town.id ORDER BY total DESC, town.name LIMIT 10;
SELECT born, round(avg(cents), 3), max(length(sale.note))
FROM person JOIN sale ON sale.person = person.id GROUP BY born ORDER BY 2 DESC LIMIT 5;
UPDATE person SET name = upper(name) || id WHERE town % 3 = 0;
DELETE FROM sale WHERE cents % 5 = 1;
SELECT count(*), sum(length(name)), min(name), max(name) FROM person;
SELECT count(*), sum(cents) FROM sale WHERE person IN (SELECT id FROM person WHERE name > '8');
