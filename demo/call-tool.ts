/** An MCP client: gets a token from Holdfast, calls the tool `whoami` and prints the answer. */
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { openVault } from '../src/index.ts';

const [resource] = process.argv.slice(2);
if (resource === undefined) throw new Error('usage: call-tool URL');
const vault = openVault();
const client = new Client({ name: 'demo', version: '1.0.0' });
await client.connect(
  new StreamableHTTPClientTransport(new URL(resource), {
    requestInit: { headers: await vault.headers(resource) },
  }),
);
const { content } = await client.callTool({ name: 'whoami', arguments: {} });
for (const part of content) if (part.type === 'text') process.stdout.write(`${part.text}\n`);
await client.close();
await vault.close();
