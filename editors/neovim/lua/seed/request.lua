--- Asking the server: at most one request is of interest, the latest.
---
--- Knows neither what is shown nor why something is asked.
local place = require("seed.place")
local server = require("seed.server")
local text = require("seed.text")

local METHOD = "textDocument/inlineCompletion"

---@class seed.Answer
---@field asked seed.Place what it is for
---@field texts string[] to add at the cursor, best first
---@field command table? what the server wants to be told of an acceptance

local M = {}
M.INVOKED, M.AUTOMATIC = 1, 2

local serial = 0 -- of the latest request
local open ---@type { client: vim.lsp.Client, id: integer }?
local timer ---@type uv.uv_timer_t?

---@param client vim.lsp.Client
---@param now seed.Place
---@param result table?
---@return string[] texts
---@return table? command
local function texts_of(client, now, result)
  local texts, command = {}, nil
  for _, item in ipairs(result and (result.items or result) or {}) do
    local added = text.of_item(item, now.line, now.col, function(character)
      return place.to_byte(now.line, client.offset_encoding, character)
    end)
    if added and added ~= "" then
      table.insert(texts, added)
      command = command or item.command
    end
  end
  return texts, command
end

--- Stop whatever is asked or about to be.
function M.cancel()
  if timer then
    timer:stop()
  end
  serial = serial + 1
  if open then
    open.client:cancel_request(open.id)
    open = nil
  end
end

--- Ask for the cursor's place.
---@param kind 1|2
---@param on_answer fun(answer: seed.Answer) unless another request was made meanwhile
function M.send(kind, on_answer)
  local now = place.take()
  local client = server.client(now.buf)
  if not client then
    return
  end
  local before = open
  serial = serial + 1
  local own = serial
  local params = {
    textDocument = { uri = vim.uri_from_bufnr(now.buf) },
    position = place.to_position(now, client.offset_encoding),
    context = { triggerKind = kind },
  }
  local is_sent, id = client:request(METHOD, params, function(_, result)
    if own == serial then
      open = nil
      local texts, command = texts_of(client, now, result)
      on_answer({ asked = now, texts = texts, command = command })
    end
  end, now.buf)
  open = is_sent and id and { client = client, id = id } or nil
  if before then
    -- Only now: the server has just seen the change, and keeps what was typed along.
    before.client:cancel_request(before.id)
  end
end

--- Call a function after a while, unless something is asked or cancelled meanwhile.
---@param delay_ms integer
---@param call fun()
function M.wait(delay_ms, call)
  timer = timer or assert(vim.uv.new_timer())
  local own = serial
  local function call_unless_late()
    if own == serial then
      call()
    end
  end
  timer:start(delay_ms, 0, vim.schedule_wrap(call_unless_late))
end

return M
