-- Public measurements by their beginning; the narrowest index that counts them, too.
CREATE INDEX measurement_begins ON measurement (is_public, start);

-- Which measurements have three letters in a row in their texts. Those of users come into it later than they are made, up to
-- the number in `text_indexed`: an index of this sort writes ten times as much as a measurement's own row. It keeps no text.
CREATE VIRTUAL TABLE measurement_letters USING fts5
    (target, description, content = '', contentless_delete = 1, detail = none, tokenize = 'trigram case_sensitive 1');
CREATE TABLE text_indexed (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    upto  INTEGER NOT NULL
) STRICT;
INSERT INTO text_indexed (one, upto) VALUES (1, 999999);

-- Built-in measurements have numbers below the users', so nobody would come by later.
INSERT INTO measurement_letters (rowid, target, description)
    SELECT id, target_folded, description_folded FROM measurement WHERE id < 1000000;
CREATE TRIGGER measurement_letters_new AFTER INSERT ON measurement WHEN new.id < 1000000 BEGIN
    INSERT OR REPLACE INTO measurement_letters (rowid, target, description)
        VALUES (new.id, new.target_folded, new.description_folded);
END;
CREATE TRIGGER measurement_letters_changed AFTER UPDATE OF target_folded, description_folded ON measurement
WHEN new.id <= (SELECT upto FROM text_indexed) BEGIN
    INSERT OR REPLACE INTO measurement_letters (rowid, target, description)
        VALUES (new.id, new.target_folded, new.description_folded);
END;
