--- What the server is at, on the command line: edits take seconds, and can be stopped.
---
--- Knows the protocol's progress displays, not what is worked at.
local api = vim.api
local M = {}

local titles = {} ---@type table<integer|string, { client_id: integer, title: string }>

---@param message string
local function show(message)
  -- While somebody types, the status line has to do.
  if api.nvim_get_mode().mode == "n" then
    api.nvim_echo({ { message } }, false, {})
  end
end

---@param client_id integer
---@param params { token: integer|string, value: table }
local function follow(client_id, params)
  local token, value = params.token, params.value
  if value.kind == "begin" and value.cancellable then
    titles[token] = { client_id = client_id, title = value.title }
  end
  local known = titles[token]
  if not known then
    return
  end
  if value.kind == "end" then
    titles[token] = nil
    return show("")
  end
  show(("seed: %s, %d %%"):format(known.title, value.percentage or 0))
end

--- Begin to follow the server.
---@param group integer of autocommands
---@param name string of the client
function M.watch(group, name)
  api.nvim_create_autocmd("LspProgress", {
    group = group,
    callback = function(event)
      local client = vim.lsp.get_client_by_id(event.data.client_id)
      if client and client.name == name then
        follow(client.id, event.data.params)
      end
    end,
  })
end

--- Stop whatever can be stopped.
---@return boolean whether there was anything
function M.cancel()
  local is_any = next(titles) ~= nil
  for token, known in pairs(titles) do
    local client = vim.lsp.get_client_by_id(known.client_id)
    if client then
      client:notify("window/workDoneProgress/cancel", { token = token })
    end
  end
  return is_any
end

return M
