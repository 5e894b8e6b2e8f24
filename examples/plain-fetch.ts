/**
 * No SDK: a `fetch` that sends the login, and logs in if no login exists.
 *
 *     npx tsx plain-fetch.ts https://mcp.example.com/mcp
 */
import { openVault } from 'holdfast';
import { authorizedFetch } from 'holdfast/mcp';

const [url = 'https://mcp.example.com/mcp'] = process.argv.slice(2);
const vault = openVault();
const fetch = authorizedFetch(vault, url, {
  interaction: { authorize: async (page) => console.error(`To log in, open ${page}`) },
});

try {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list' }),
  });
  console.log(response.status, await response.text());
} finally {
  await vault.close();
}
