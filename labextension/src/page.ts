import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

/**
 * Tell the server that this page saves notebooks through it.
 *
 * It answers with a cookie that comes along when the page connects to a kernel; without one, the
 * outputs of a kernel with an open artifact arrive sealed. Never rejects: a server without our
 * extension is no reason for the lab not to start.
 */
export async function sayPage(
  settings: ServerConnection.ISettings
): Promise<void> {
  const url = URLExt.join(settings.baseUrl, 'aisec', 'page');
  try {
    await ServerConnection.makeRequest(url, { method: 'POST' }, settings);
  } catch (error) {
    console.warn('jupyter-aisec: outputs will arrive sealed', error);
  }
}
