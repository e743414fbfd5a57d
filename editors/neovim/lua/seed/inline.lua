--- When to ask, what to do with answers, when to show: the one place where all parts meet.
---
--- An answer counts only if it is to the latest request and nothing has changed since. What is
--- shown stays until something else is typed, and only grows.
local ghost = require("seed.ghost")
local menu = require("seed.menu")
local place = require("seed.place")
local request = require("seed.request")
local server = require("seed.server")
local suggestion = require("seed.suggestion")
local text = require("seed.text")
local api = vim.api

local MOST_RETRIES, RETRY_MS = 8, 300

local M = {}
local current ---@type seed.Suggestion?
local last ---@type seed.Place? at the latest look
local newest ---@type table? the latest update, which may have overtaken its answer
local hint ---@type string?

local function is_inserting()
  return api.nvim_get_mode().mode:sub(1, 1) == "i"
end

---@param now seed.Place
local function render(now)
  local rest = current and current:rest(now)
  if rest and is_inserting() and not menu.is_open() then
    ghost.show(now, rest, hint)
  else
    ghost.hide()
  end
end

---@param answer seed.Answer
---@return boolean whether it is for what is there now
local function take_answer(answer)
  local now = place.take()
  if not place.is_same(now, answer.asked) or not is_inserting() then
    return false
  end
  local texts, command = answer.texts, answer.command
  if #texts == 0 then
    return true
  end
  if current and current:rest(now) then
    current:add(now, texts, command)
  else
    current = suggestion.new(now, texts, command)
  end
  if newest and newest.session == current.session and newest.version == now.version then
    current:grow(now, newest.text)
  end
  render(now)
  return true
end

---@param delay_ms integer
local function ask_after(delay_ms)
  local function ask()
    if is_inserting() then
      request.send(request.AUTOMATIC, take_answer)
    end
  end
  if delay_ms > 0 then
    request.wait(delay_ms, ask)
  else
    ask()
  end
end

--- Forget the suggestion and stop asking.
function M.clear()
  request.cancel()
  current, newest, last, hint = nil, nil, nil, nil
  ghost.hide()
end

--- Look where the cursor is and what stands there; cheap if nothing has changed.
function M.refresh()
  if not is_inserting() or not server.client(api.nvim_get_current_buf()) then
    return M.clear()
  end
  menu.watch_cmp(M.refresh)
  local now, before = place.take(), last
  if menu.is_open() then
    request.cancel()
    last = nil
    return ghost.hide()
  end
  last = now
  if place.is_same(now, before) then
    return render(now)
  end
  hint = nil
  local is_changed_elsewhere = before
    and before.version ~= now.version
    and place.typed(before, now) == ""
  if is_changed_elsewhere or not (current and current:rest(now)) then
    current = nil
  end
  render(now)
  ask_after(current and 0 or require("seed.config").values.debounce_ms)
end

--- A prediction has grown (`seed/inlineCompletion/update`).
---@param params table
---@param client vim.lsp.Client
function M.update(params, client)
  local now = place.take()
  local start = params.item.range and params.item.range.start
  if params.version ~= now.version or params.uri ~= vim.uri_from_bufnr(now.buf) then
    return
  end
  newest = {
    session = params.session,
    version = params.version,
    text = text.normalize(params.text),
  }
  local is_here = start
    and start.line == now.row
    and place.to_byte(now.line, client.offset_encoding, start.character) == now.col
  if is_here and current and current.session == params.session then
    current:grow(now, newest.text)
    render(now)
  end
end

--- What is on screen, if anything is.
---@return string?
function M.shown()
  if not current or not is_inserting() or menu.is_open() then
    return nil
  end
  return current:rest(place.take())
end

--- Put what is shown, or its beginning, into the buffer.
---@param piece_of (fun(shown: string): string)? all of it if absent
---@return boolean whether anything was shown
function M.accept(piece_of)
  local shown = M.shown()
  if not shown then
    return false
  end
  local piece = piece_of and piece_of(shown) or shown
  local command = current.command
  place.insert(piece)
  local now = place.take()
  last, hint = now, nil
  if piece == shown then
    current = nil
  end
  render(now)
  ask_after(0)
  if piece == shown and command then
    server.execute(command.command, command.arguments, nil, now.buf)
  end
  return true
end

--- Take away what is shown; it does not come back by itself to this place.
---@return boolean whether anything was shown
function M.dismiss()
  if not M.shown() then
    return false
  end
  local now = place.take()
  M.clear()
  last = now
  server.execute("seed.dismiss", { vim.uri_from_bufnr(now.buf) }, nil, now.buf)
  return true
end

--- Show another text for the place; the first time the server is asked for some.
---@param step 1|-1
---@param retries integer?
function M.cycle(step, retries)
  local now = place.take()
  if current and current:cycle(now, step) then
    hint = (" (%d/%d)"):format(current.index, #current.texts)
    return render(now)
  end
  retries = retries or MOST_RETRIES
  request.send(request.INVOKED, function(answer)
    if not take_answer(answer) then
      return
    end
    if not current or #current.texts > 1 or retries == 0 then
      if current and #current.texts > 1 then
        M.cycle(step, 0)
      end
      return
    end
    -- The server begins with other texts once it is asked for them: they come with a later answer.
    vim.defer_fn(function()
      if place.is_same(now, place.take()) and is_inserting() then
        M.cycle(step, retries - 1)
      end
    end, RETRY_MS)
  end)
end

--- Ask by hand, also where nothing comes by itself.
function M.trigger()
  if is_inserting() then
    request.send(request.INVOKED, take_answer)
  end
end

--- Show a text at the cursor, whoever it is from.
---@param shown string
function M.offer(shown)
  local now = place.take()
  request.cancel()
  current, last, hint = suggestion.new(now, { text.normalize(shown) }), now, nil
  render(now)
end

--- Begin to follow the cursor.
---@param group integer of autocommands
function M.watch(group)
  api.nvim_create_autocmd({ "TextChangedI", "TextChangedP", "CursorMovedI" }, {
    group = group,
    callback = M.refresh,
  })
  api.nvim_create_autocmd("InsertEnter", {
    group = group,
    callback = vim.schedule_wrap(M.refresh), -- it is not yet insert mode
  })
  api.nvim_create_autocmd({ "InsertLeave", "BufLeave", "VimLeavePre" }, {
    group = group,
    callback = M.clear,
  })
  menu.watch(group, M.refresh)
end

return M
