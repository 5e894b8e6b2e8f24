/**
 * An MCP client on the MCP TypeScript SDK 1.x that stays logged in. Log in once, with `holdfast login URL`; then:
 *
 *     npx tsx sdk-v1-client.ts https://mcp.example.com/mcp
 */
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { LoginRequiredError, openVault } from 'holdfast';
import { oauthClientProvider } from 'holdfast/mcp';

const [url = 'https://mcp.example.com/mcp'] = process.argv.slice(2);
const vault = openVault();
const provider = oauthClientProvider(vault, url);
const client = new Client({ name: 'example', version: '1.0.0' });

try {
  await client.connect(
    new StreamableHTTPClientTransport(new URL(url), { authProvider: provider, fetch: provider.fetch }),
  );
  const { tools } = await client.listTools();
  for (const { name, description } of tools) console.log(`${name}: ${description}`);
} catch (error) {
  if (!(error instanceof LoginRequiredError)) throw error;
  console.error(`${error.message}\n${error.hint}`);
  process.exitCode = 1;
} finally {
  await client.close();
  await vault.close();
}
