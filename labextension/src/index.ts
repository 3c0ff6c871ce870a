import {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { Notification } from '@jupyterlab/apputils';
import { IStatusBar } from '@jupyterlab/statusbar';

import { clock, remaining } from './grant';
import { Grants } from './grants';
import { sayPage } from './page';
import { SealedOutputs } from './sealed';
import { GrantsStatus } from './status';
import { IGrants } from './tokens';

export { IGrants, IProblem } from './tokens';
export { GrantState, IGrant } from './grant';

/** Makes this page known before it connects to a kernel: the lab waits for its plugins. */
const page: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-aisec:page',
  description: 'Tells the server that this page saves notebooks through it.',
  autoStart: true,
  activate: (app: JupyterFrontEnd): Promise<void> =>
    sayPage(app.serviceManager.serverSettings)
};

/** Keeps the person's grants up to date. */
const grants: JupyterFrontEndPlugin<IGrants> = {
  id: 'jupyter-aisec:grants',
  description:
    'Keeps the grants of the person who runs this server up to date.',
  autoStart: true,
  provides: IGrants,
  activate: (app: JupyterFrontEnd): IGrants =>
    new Grants({ serverSettings: app.serviceManager.serverSettings })
};

/** Shows them, and their countdown, in the status bar; warns before one ends. */
const status: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-aisec:status',
  description: 'Shows my grants and their countdown in the status bar.',
  autoStart: true,
  requires: [IGrants],
  optional: [IStatusBar],
  activate: (
    _app: JupyterFrontEnd,
    model: IGrants,
    statusBar: IStatusBar | null
  ): void => {
    model.ending.connect((sender, grant) => {
      const left = clock(remaining(grant, sender.now()) ?? 0);
      Notification.warning(
        `${left} left for ${grant.artifacts.join(', ')}. Save what you need: ` +
          '%save_secure seals it. More time: %grant extend --for 1h',
        { autoClose: false }
      );
    });
    statusBar?.registerStatusItem('jupyter-aisec:status', {
      item: new GrantsStatus(model),
      align: 'right',
      rank: 10
    });
  }
};

/** Shows sealed outputs of saved notebooks again, where the notebook's kernel may open them. */
const sealed: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-aisec:sealed',
  description:
    'Shows sealed outputs of saved notebooks, opened by their kernel.',
  autoStart: true,
  activate: (app: JupyterFrontEnd): void => {
    app.docRegistry.addWidgetExtension('Notebook', new SealedOutputs());
  }
};

export default [page, grants, status, sealed];
