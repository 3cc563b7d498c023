/* SPDX-License-Identifier: Apache-2.0 */
/* Intrusive doubly linked list. A node that is in no list has next == NULL. Not thread-safe. */
#ifndef UMBRA_UTIL_LIST_H
#define UMBRA_UTIL_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list_node {
	struct list_node *next, *prev;
};

struct list {
	struct list_node head; /* head.next is the first; an empty list points at itself */
};

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define list_for_each(node, list_ptr)                                                                        \
	for (struct list_node *node = (list_ptr)->head.next; node != &(list_ptr)->head; node = node->next)

/* The current node may be removed (and freed) in the body. */
#define list_for_each_safe(node, list_ptr)                                                                   \
	for (struct list_node *node = (list_ptr)->head.next, *node##_next = node->next;                      \
		node != &(list_ptr)->head; node = node##_next, node##_next = node->next)

static inline void list_init(struct list *l)
{
	l->head.next = l->head.prev = &l->head;
}

static inline bool list_empty(const struct list *l)
{
	return l->head.next == &l->head;
}

static inline bool list_linked(const struct list_node *n)
{
	return n->next != NULL;
}

static inline void list_insert_after(struct list_node *at, struct list_node *n)
{
	n->prev = at;
	n->next = at->next;
	at->next->prev = n;
	at->next = n;
}

static inline void list_push_back(struct list *l, struct list_node *n)
{
	list_insert_after(l->head.prev, n);
}

static inline void list_push_front(struct list *l, struct list_node *n)
{
	list_insert_after(&l->head, n);
}

/* Removing a node that is in no list does nothing. */
static inline void list_remove(struct list_node *n)
{
	if (!n->next)
		return;
	n->prev->next = n->next;
	n->next->prev = n->prev;
	n->next = n->prev = NULL;
}

/* The first node, taken out, or NULL. */
static inline struct list_node *list_pop(struct list *l)
{
	struct list_node *n = l->head.next;

	if (n == &l->head)
		return NULL;
	list_remove(n);
	return n;
}

#endif
