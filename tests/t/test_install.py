"""The extension installs, reports its version, and leaves nothing behind."""

import psycopg
import pytest


def test_version_is_the_installed_one(db):
    installed = db.execute("SELECT extversion FROM pg_extension WHERE extname = 'prometheus_embed'").fetchone()
    assert db.execute("SELECT embed_version()").fetchone() == installed


def test_every_session_sees_it(db, connect):
    assert connect(db).execute("SELECT embed_version()").fetchone() == db.execute("SELECT embed_version()").fetchone()


def test_drop_removes_the_functions(db):
    db.execute("DROP EXTENSION prometheus_embed")
    with pytest.raises(psycopg.errors.UndefinedFunction):
        db.execute("SELECT embed_version()")


def test_installs_into_a_schema_of_the_users_choice(cluster, db):
    db.execute("DROP EXTENSION prometheus_embed")
    db.execute("CREATE SCHEMA elsewhere")
    db.execute("CREATE EXTENSION prometheus_embed SCHEMA elsewhere")
    assert db.execute("SELECT elsewhere.embed_version() IS NOT NULL").fetchone() == (True,)
