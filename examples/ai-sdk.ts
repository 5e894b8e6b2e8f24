/**
 * The tools of an MCP server for the AI SDK. Log in once, with `holdfast login URL`; then:
 *
 *     npx tsx ai-sdk.ts https://mcp.example.com/mcp
 */
import { createMCPClient } from '@ai-sdk/mcp';
import { openVault } from 'holdfast';
import { oauthClientProvider } from 'holdfast/mcp';

const [url = 'https://mcp.example.com/mcp'] = process.argv.slice(2);
const vault = openVault();
const provider = oauthClientProvider(vault, url);
const client = await createMCPClient({
  transport: { type: 'http', url, authProvider: provider, fetch: provider.fetch },
});

try {
  // Pass them to `generateText({ model, tools, prompt })`.
  const tools = await client.tools();
  for (const [name, { description }] of Object.entries(tools)) console.log(`${name}: ${description}`);
} finally {
  await client.close();
  await vault.close();
}
