"""``PostgresSessionLog``: conversations in PostgreSQL, with row-level security for tenants."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wakelog._endpoints import hide_in_error
from wakelog.audit._log import in_thread
from wakelog.audit._sql import Result, SQLSessionLog
from wakelog.errors import ConfigurationError, SessionLogError
from wakelog.runtime import ForkOrder, notice_fork, reset_in_child

if TYPE_CHECKING:
    from psycopg import Connection, sql

_log = logging.getLogger("wakelog")
_SETTING = "wakelog.tenant_id"
_TABLES = ("threads", "events", "archived_events")
_MOST_IDLE = 8
_SHOWN = ("host", "hostaddr", "port", "dbname", "user")
_SCHEMA = """
SELECT pg_advisory_xact_lock(hashtext('wakelog session log'));
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE IF NOT EXISTS {schema}.threads (
    tenant_id text NOT NULL, thread_id text NOT NULL,
    last_ordinal bigint NOT NULL, watermark bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, thread_id)
);
CREATE TABLE IF NOT EXISTS {schema}.events (
    tenant_id text NOT NULL, thread_id text NOT NULL, ordinal bigint NOT NULL, event json NOT NULL,
    PRIMARY KEY (tenant_id, thread_id, ordinal)
);
CREATE TABLE IF NOT EXISTS {schema}.archived_events (LIKE {schema}.events INCLUDING ALL);
"""
_POLICY = """
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant ON {table};
CREATE POLICY tenant ON {table}
    USING (tenant_id = current_setting({setting}, true))
    WITH CHECK (tenant_id = current_setting({setting}, true));
"""
# Connections that a forked child has inherited: closing them there would end the parent's sessions.
_inherited: list[Connection[Any]] = []


class PostgresSessionLog(SQLSessionLog):
    """Stores conversations in PostgreSQL.

    Every query names the tenant. In addition, row-level security is forced on every table, with a
    policy that allows access only to the rows of the tenant that the transaction has set, so that a
    query without the tenant finds nothing. The policy applies to every role except superusers and
    those with ``BYPASSRLS``; let the program log in as another role. A warning is logged if it does
    not. Events are not written to tables without forced row-level security, which somebody else may
    have created.

    Calls run in threads, each with its own connection; up to eight idle connections are kept. An
    idle connection that was closed is replaced. A transaction that fails later is not retried,
    because it may have been committed.

    ``_lock`` guards the list of idle connections.

    Args:
        conninfo: A connection string for ``psycopg.connect``.
        schema: The schema of the tables.
        connect_timeout: The time-out for connecting, in seconds.
        statement_timeout: The time-out for one statement, including waiting for locks, in seconds.

    Raises:
        ConfigurationError: If psycopg is not installed (the extra ``postgres``), or ``conninfo`` is
            invalid.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        schema: str = "wakelog",
        connect_timeout: int = 10,
        statement_timeout: float = 30.0,
    ) -> None:
        # Not at the top of the module, so that the class can be imported without psycopg.
        try:
            from psycopg import sql
        except ImportError as error:
            raise ConfigurationError(
                "PostgresSessionLog needs psycopg: install wakelog with the extra, pip install "
                "'wakelog[postgres]'"
            ) from error
        self._conninfo = conninfo
        self._secrets = _secrets_in(conninfo)
        self._schema = sql.Identifier(schema)
        self._schema_name = schema
        self._guarded = False
        self._warned = False
        self._connect_timeout = connect_timeout
        self._statement_timeout = statement_timeout
        self._idle: list[Connection[Any]] = []
        self._lock = threading.Lock()
        reset_in_child(self._after_fork, ForkOrder.STORAGE)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        _inherited.extend(self._idle)
        self._idle = []

    async def create_schema(self) -> None:
        """Create the schema, its tables and their policies, as far as they are missing.

        The current role owns them. Another role needs ``USAGE`` on the schema, and ``SELECT``,
        ``INSERT``, ``UPDATE`` and ``DELETE`` on its tables.

        Raises:
            SessionLogError: If the server refused.
        """
        from psycopg import sql

        def create(connection: Connection[Any]) -> None:
            connection.execute(sql.SQL(_SCHEMA).format(schema=self._schema))
            for name in _TABLES:
                table = sql.SQL("{}.{}").format(self._schema, sql.Identifier(name))
                policy = sql.SQL(_POLICY).format(table=table, setting=sql.Literal(_SETTING))
                connection.execute(policy)

        await in_thread(lambda: self._run("create the schema in", "", create))

    def close(self) -> None:
        """Close the idle connections. New ones are opened when needed."""
        notice_fork()
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _guard(self, connection: Connection[Any]) -> None:
        """Check once that row-level security is forced on the tables.

        Raises:
            SessionLogError: If it is not.
        """
        if self._guarded:
            return
        found = connection.execute(
            "SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = %s AND c.relname = ANY(%s)",
            (self._schema_name, list(_TABLES)),
        ).fetchall()
        if open_to_all := sorted(name for name, is_forced in found if not is_forced):
            raise SessionLogError(
                "cannot append to the session log in PostgreSQL: row-level security is not forced on "
                f"{', '.join(f'{self._schema_name}.{name}' for name in open_to_all)}, so every tenant "
                "would see these events. Let the owner of the tables call create_schema()"
            )
        self._guarded = len(found) == len(_TABLES)

    def _warn_of_role(self, connection: Connection[Any]) -> None:
        """Log a warning once if no policy applies to the current role."""
        row = connection.execute(
            "SELECT current_user, rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        if row is not None and row[1] and not self._warned:
            self._warned = True
            _log.warning(
                "the session log in PostgreSQL logs in as %s, a superuser or a role with BYPASSRLS, so "
                "row-level security is off and only the queries keep tenants apart: log in as another role",
                row[0],
            )

    def _statement(self, text: str) -> sql.Composed:
        from psycopg import sql

        return sql.SQL(text.replace("?", "%s")).format(*[self._schema] * text.count("{}"))

    def _run(
        self, operation: str, tenant: str, call: Callable[[Connection[Any]], Result]
    ) -> Result:
        """Run a function in a transaction that can access only one tenant's rows."""
        import psycopg

        notice_fork()
        while True:
            began = False
            connection: Connection[Any] | None = None
            try:
                connection, fresh = self._take()
                with connection.transaction():
                    connection.execute("SELECT set_config(%s, %s, true)", (_SETTING, tenant))
                    began = True
                    if operation == "append to":
                        self._guard(connection)
                    result = call(connection)
            except psycopg.Error as error:
                if connection is not None and not began and not fresh:
                    continue  # the connection was closed while it was idle
                # psycopg may quote the connection string in its message.
                shown = hide_in_error(error, self._secrets)
                told = str(error).strip() if shown else type(error).__name__
                raise SessionLogError(
                    f"cannot {operation} the session log in PostgreSQL: {told}"
                ) from (error if shown else None)
            else:
                connection = self._give_back(connection)
                return result
            finally:
                if connection is not None:
                    connection.close()

    def _take(self) -> tuple[Connection[Any], bool]:
        with self._lock:
            if self._idle:
                return self._idle.pop(), False
        import psycopg

        timeout = int(self._statement_timeout * 1000)
        connection = psycopg.connect(
            self._conninfo,
            autocommit=True,
            prepare_threshold=None,  # a connection pooler may not support prepared statements
            connect_timeout=self._connect_timeout,
            application_name="wakelog",
        )
        connection.execute("SELECT set_config('statement_timeout', %s, false)", (str(timeout),))
        try:
            self._warn_of_role(connection)
        except BaseException:
            connection.close()
            raise
        return connection, True

    def _give_back(self, connection: Connection[Any]) -> Connection[Any] | None:
        """Keep a connection for later calls; return it if it has to be closed."""
        with self._lock:
            if len(self._idle) >= _MOST_IDLE:
                return connection
            self._idle.append(connection)
        return None


def _secrets_in(conninfo: str) -> list[str]:
    """Return the secret values in a connection string: all but host, port, database and user.

    Raises:
        ConfigurationError: If it is invalid. libpq's message is not shown, because it would quote
            it.
    """
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        given = conninfo_to_dict(conninfo)
    except psycopg.Error:
        given = None
    if given is None:
        raise ConfigurationError(
            "conninfo cannot be read, and is not shown because it may hold a password: write it as "
            "in postgresql://user@host:5432/database, and escape special characters in the password (%40 "
            "for @)"
        )
    ports = str(given.get("port") or "0").split(",")
    if not all(port.isdecimal() or not port for port in ports):
        raise ConfigurationError(
            "conninfo has a port that is not a number, and is not shown because it may hold a password: "
            "in a URL without a host, the password is parsed as the port"
        )
    return [str(value) for name, value in given.items() if name not in _SHOWN and value]
