--- Tells the server where the cursor has come to stand, so that it can read there before the first
--- key. In insert mode it is asked anyway.
---
--- Knows nothing of suggestions.
local place = require("seed.place")
local server = require("seed.server")
local api = vim.api

local METHOD = "seed/cursorRest"
local REST_MS = 100

local M = {}
local timer ---@type uv.uv_timer_t?
local told ---@type seed.Place?

--- The place at the end of the cursor's line: `A` goes there, and what `o` opens has the same text
--- behind it. Where else in a line somebody will begin is not known before.
---@return seed.Place
local function place_to_read()
  local now = place.take()
  now.col = #now.line
  return now
end

local function tell()
  local now = place_to_read()
  local client = server.client(now.buf)
  if not client or api.nvim_get_mode().mode ~= "n" or place.is_same(now, told) then
    return
  end
  told = now
  local position = place.to_position(now, client.offset_encoding)
  client:notify(METHOD, {
    uri = vim.uri_from_bufnr(now.buf),
    version = now.version,
    range = { start = position, ["end"] = position },
  })
end

--- Look once the cursor has stood still for a moment.
function M.wait()
  timer = timer or assert(vim.uv.new_timer())
  timer:start(REST_MS, 0, vim.schedule_wrap(tell))
end

--- Begin to follow the cursor.
---@param group integer of autocommands
function M.watch(group)
  api.nvim_create_autocmd({ "CursorMoved", "BufEnter" }, { group = group, callback = M.wait })
  api.nvim_create_autocmd("LspAttach", {
    group = group,
    desc = "tell a server that has come later than the cursor, or once more",
    callback = function(event)
      local client = vim.lsp.get_client_by_id(event.data.client_id)
      if client and client.name == server.NAME then
        told = nil
        M.wait()
      end
    end,
  })
end

return M
