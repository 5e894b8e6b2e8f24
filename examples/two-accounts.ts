/**
 * An agent that uses two accounts at one server. Log in to each once, with `holdfast login URL --account work` and
 * `holdfast login URL --account personal`; then:
 *
 *     npx tsx two-accounts.ts https://mcp.example.com/mcp whoami
 */
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { openVault } from 'holdfast';
import { authProvider } from 'holdfast/mcp';

const [url = 'https://mcp.example.com/mcp', tool = 'whoami'] = process.argv.slice(2);
const vault = openVault();

async function callAs(account: string): Promise<void> {
  const provider = authProvider(vault, url, { account });
  const client = new Client({ name: 'example', version: '1.0.0' });
  try {
    await client.connect(
      new StreamableHTTPClientTransport(new URL(url), { authProvider: provider, fetch: provider.fetch }),
    );
    const { content } = await client.callTool({ name: tool, arguments: {} });
    console.log(`${account}: ${JSON.stringify(content)}`);
  } finally {
    await client.close();
  }
}

try {
  await Promise.all([callAs('work'), callAs('personal')]);
} finally {
  await vault.close();
}
