import pg from 'pg';
import { isGood, type PlainLogin, refreshed, type TokenSource } from './stand-ins.ts';

/** `SELECT ... FOR UPDATE`, the request, `UPDATE`, `COMMIT`: one connection for as long as the server takes. */
export function rowLock(url: string): TokenSource {
  const pool = new pg.Pool({ connectionString: url, max: 12 });
  pool.on('error', () => {});
  return {
    token: async (resource, refused) => {
      const seen = await pool.query('SELECT login FROM plain_login WHERE resource = $1', [resource]);
      const before = seen.rows[0]?.login as PlainLogin;
      if (isGood(before, refused)) return { token: before.accessToken, generation: before.generation };
      const client = await pool.connect();
      client.on('error', () => {});
      let broken: Error | undefined;
      try {
        await client.query('BEGIN');
        const { rows } = await client.query('SELECT login FROM plain_login WHERE resource = $1 FOR UPDATE', [
          resource,
        ]);
        let login = rows[0]?.login as PlainLogin;
        if (!isGood(login, refused)) {
          login = await refreshed(login);
          const values = [resource, JSON.stringify(login)];
          await client.query('UPDATE plain_login SET login = $2 WHERE resource = $1', values);
        }
        await client.query('COMMIT');
        return { token: login.accessToken, generation: login.generation };
      } catch (error) {
        broken = error instanceof Error ? error : new Error(String(error));
        throw error;
      } finally {
        client.release(broken);
      }
    },
    close: () => pool.end(),
  };
}

export async function putRow(url: string, resource: string, login: PlainLogin): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(
    'CREATE TABLE IF NOT EXISTS plain_login (resource text PRIMARY KEY, login jsonb NOT NULL)',
  );
  await client.query('INSERT INTO plain_login VALUES ($1, $2)', [resource, JSON.stringify(login)]);
  await client.end();
}

export async function readRow(url: string, resource: string): Promise<PlainLogin> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const { rows } = await client.query('SELECT login FROM plain_login WHERE resource = $1', [resource]);
  await client.end();
  return rows[0]?.login as PlainLogin;
}
