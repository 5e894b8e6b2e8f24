/**
 * A CI job that is its own client: no user logs in, and no login is stored. The client is registered at the
 * authorization server. The job has its secret in the environment:
 *
 *     MCP_CLIENT_ID=… MCP_CLIENT_SECRET=… npx tsx confidential-client-in-ci.ts https://mcp.example.com/mcp
 */
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { openVault, Secret } from 'holdfast';
import { authProvider } from 'holdfast/mcp';

const [url = 'https://mcp.example.com/mcp'] = process.argv.slice(2);
const { MCP_CLIENT_ID: id, MCP_CLIENT_SECRET: secret } = process.env;
if (id === undefined || secret === undefined) throw new Error('Set MCP_CLIENT_ID and MCP_CLIENT_SECRET.');

const vault = openVault({ keyring: 'memory' });
const provider = authProvider(vault, url, {
  login: { client: { id, secret: new Secret(secret) }, grant: { type: 'client_credentials' } },
});
const client = new Client({ name: 'example', version: '1.0.0' });

try {
  await client.connect(
    new StreamableHTTPClientTransport(new URL(url), { authProvider: provider, fetch: provider.fetch }),
  );
  const { tools } = await client.listTools();
  for (const { name, description } of tools) console.log(`${name}: ${description}`);
} finally {
  await client.close();
  await vault.close();
}
