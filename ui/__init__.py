"""The web page that agents serve: plain files, no build step. `agent/http/ui.py` reads them; nothing imports this.

`index.html` is the frame, `app.js` chooses a view by the path, `api.js` talks to the agent, `dom.js` makes elements,
`live.js` keeps what is shown up to date by blocking queries, `views/` has one file a page.
"""
